// The service's routes. A refusal becomes a ServiceError with the reason that the service gave.

const KEY = "service-key";

export class ServiceError extends Error {
  constructor(status, message, retryAfter) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

export function useKey(key) {
  sessionStorage.setItem(KEY, key);
}

async function call(path, body, signal) {
  const headers = {};
  const key = sessionStorage.getItem(KEY);
  if (key) headers["Authorization"] = `Bearer ${key}`;
  if (body) headers["Content-Type"] = "application/json";
  const response = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
  if (response.ok) return response.status === 204 ? null : response.json();
  const problem = await response.json().catch(() => ({}));
  const field = problem.field ? `${problem.field}: ` : "";
  const retryAfter = Number(response.headers.get("Retry-After")) || 1;
  throw new ServiceError(response.status, field + (problem.detail ?? problem.title ?? response.statusText), retryAfter);
}

export const model = () => call("model");

// One prediction a text, in order.
export const predict = async (texts, topK, signal) => (await call("predict", { texts, top_k: topK }, signal)).predictions;

// The words of one text with their weights for one label.
export const explain = async (text, label, signal) => (await call("explain", { text, label }, signal)).attributions;

export const feedback = (id, text, label) => call("feedback", { id, text, label });
