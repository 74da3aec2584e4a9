"""Who is told of failures, refusals, promotions, withdrawals, rollbacks and drift: one Prefect block.

MODEL_SERVICE_NOTIFY names it.

The setting is the address of a webhook (Slack, Teams, Mattermost and most others take `{"text": ...}`),
or TYPE/NAME of a block made in Prefect's pages, such as email or pager-duty-webhook/night.
`make up` then registers one automation a rule: `python -m flows.notifications` does so alone.
"""

import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from prefect.blocks.core import Block
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

from flows.changes import ROLLED_BACK, WITHDRAWN
from tasks.base.errors import InputError, PipelineError

SETTING = "MODEL_SERVICE_NOTIFY"
BLOCK = "model-service-alerts"

FAILURES = ("prefect.flow-run.Failed", "prefect.flow-run.Crashed")
# A refusal of the gate fails the run, and the state's message is the reason.
RULES: dict[str, tuple[Sequence[str], str, timedelta, str, str]] = {
    "a run failed": (
        FAILURES,
        "prefect.flow-run.*",
        timedelta(0),
        "{{ flow.name }}: {{ flow_run.state.name }}",
        "{{ flow_run.name }}: {{ flow_run.state.message }}",
    ),
    "a version was promoted": (
        ("model-service.promoted",),
        "model-service.*",
        timedelta(0),
        "{{ event.resource.name }} is live",
        "{{ event.payload.summary }}",
    ),
    "a version was withdrawn": (
        (WITHDRAWN,),
        "model-service.*",
        timedelta(0),
        "{{ event.resource.name }} was withdrawn",
        "{{ event.payload.live }} is live; {{ event.payload.why }}",
    ),
    "a version was rolled back": (
        (ROLLED_BACK,),
        "model-service.*",
        timedelta(0),
        "{{ event.resource.name }} is live again",
        "rolled back by {{ event.payload.who }}: {{ event.payload.why }}",
    ),
    "live traffic drifts": (
        ("model-service.drift",),
        "model-service.*",
        timedelta(days=1),
        "{{ event.resource.name }}: live traffic drifts",
        "alarms: {{ event.payload.alarms | join(', ') }} in {{ event.payload.rows }} rows",
    ),
    "a retrain did not help against drift": (
        ("model-service.unchanged",),
        "model-service.*",
        timedelta(days=1),
        "{{ event.resource.name }} stays: the same rows make the same model",
        "{{ event.payload.summary }}",
    ),
}
"""Events, resource, time in which it is told once, subject and body, by the rule's name."""


def register(target: str) -> None:
    """Makes the automations that tell `target`, in place of those of an earlier call.

    Raises:
        InputError: there is no block of that name.
    """
    block = _block(target)
    with get_client(sync_client=True) as client:
        for name, (events, resource, within, subject, body) in RULES.items():
            for former in client.read_automations_by_name(f"tell: {name}"):
                client.delete_automation(former.id)
            trigger = EventTrigger(
                expect=set(events),
                match={"prefect.resource.id": resource},  # pyright: ignore[reportArgumentType]
                posture=Posture.Reactive,
                threshold=1,
                within=within,
            )
            action = SendNotification(block_document_id=block, subject=subject, body=body)
            client.create_automation(AutomationCore(name=f"tell: {name}", trigger=trigger, actions=[action]))


def _block(target: str) -> UUID:
    if target.startswith(("http://", "https://")):
        block = CustomWebhookNotificationBlock(
            name=BLOCK, url=target, json_data={"text": "{{subject}}\n{{body}}"}, headers=None, cookies=None, timeout=10
        )
        return block.save(BLOCK, overwrite=True)  # pyright: ignore[reportReturnType]
    try:
        found = Block.load(target)
    except ValueError as error:
        raise InputError(
            f"{SETTING}: {target!r} is neither the http(s) address of a webhook nor TYPE/NAME of a Prefect block"
        ) from error
    return found._block_document_id  # pyright: ignore[reportReturnType, reportAttributeAccessIssue]


def main() -> int:
    try:
        register(os.environ.get(SETTING, ""))
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
