// Every sentence of the page, in English and Chinese, and the numbers as each language writes them.

const MESSAGES = {
  en: {
    api: "API",
    language: "Language",
    keyNeeded: "This service asks for an API key. It is kept in this tab only.",
    keyUse: "Use key",
    keyWrong: "The service does not accept this key.",
    tryTitle: "Try a text",
    textLabel: "Text",
    textPlaceholder: "Type or paste a text …",
    characters: "{count} characters",
    answerTitle: "Label",
    waiting: "The answer appears here as you type.",
    latency: "answered in {ms} ms",
    noLabel: "No label fits",
    nearest: "closest: {label}",
    noParts: "Nothing found in this text",
    outOfScope: "This text is worded unlike the training texts. The answer may still be right; check it.",
    isItRight: "Is this right?",
    yes: "Yes",
    wrong: "No, it is …",
    trueLabel: "The right label",
    pickLabel: "Choose the right label",
    send: "Send",
    thanks: "Thank you, noted.",
    whyTitle: "Why “{label}”",
    speaksFor: "speaks for it",
    speaksAgainst: "speaks against it",
    noneMatters: "No single word moves this score.",
    whyTable: "Words and weights as a table",
    word: "Words",
    points: "Percentage points",
    spoken: "{label}, {share}.",
    spokenScope: "Worded unlike the training texts.",
    spokenWhy: "Most for it: {words}.",
    fileTitle: "Label a file",
    dropHint: "Drop a CSV, TSV or text file here, or",
    choose: "Choose a file",
    staysHere: "The texts go to this service only. Rows and their order are kept.",
    fileFacts: "{name} · rows: {rows} · {encoding}",
    fileEmpty: "{name} holds no rows.",
    fileLarge: "{name} is larger than {mb} MB. Use the command line's batch prediction for files of this size.",
    column: "Column with the texts",
    columnNumber: "Column {number}",
    header: "The first row holds the names",
    start: "Label the rows",
    cancel: "Stop",
    download: "Download the answers",
    another: "Another file",
    progress: "{done} of {rows} rows, {rate} a second",
    finished: "Rows labelled: {rows}, in {seconds} s.",
    refused: "Refused: {count}; the column “error” says why.",
    outside: "Worded unlike the training texts: {count}.",
    cancelled: "Stopped after {done} of {rows} rows.",
    cardTitle: "About this model",
    classes: "Labels",
    version: "Version",
    architecture: "Architecture",
    metrics: "Measured on unseen texts",
    scope: "Worded unlike the training texts",
    falseAlarms: "flagged; wrongly so in {share} of familiar texts",
    lineage: "Made from",
    interval: "{value} ({low} to {high})",
    wholeCard: "The whole model card",
    unreachable: "The service cannot be reached. It is tried again in a moment.",
    busy: "The service is busy; trying again …",
  },
  zh: {
    api: "接口文档",
    language: "语言",
    keyNeeded: "此服务需要 API 密钥。密钥只保存在当前标签页中。",
    keyUse: "使用密钥",
    keyWrong: "服务不接受此密钥。",
    tryTitle: "试一段文本",
    textLabel: "文本",
    textPlaceholder: "输入或粘贴文本……",
    characters: "{count} 个字符",
    answerTitle: "标签",
    waiting: "输入时，结果会显示在这里。",
    latency: "{ms} 毫秒内完成",
    noLabel: "没有合适的标签",
    nearest: "最接近：{label}",
    noParts: "文本中没有找到任何内容",
    outOfScope: "这段文本的措辞与训练文本不同；结果仍可能正确，请核对。",
    isItRight: "结果正确吗？",
    yes: "正确",
    wrong: "不对，应该是……",
    trueLabel: "正确的标签",
    pickLabel: "选择正确的标签",
    send: "提交",
    thanks: "谢谢，已记录。",
    whyTitle: "为什么是“{label}”",
    speaksFor: "支持",
    speaksAgainst: "反对",
    noneMatters: "没有哪个词语会影响这个分数。",
    whyTable: "以表格显示词语及权重",
    word: "词语",
    points: "百分点",
    spoken: "{label}，{share}。",
    spokenScope: "措辞与训练文本不同。",
    spokenWhy: "最支持的词语：{words}。",
    fileTitle: "标注文件",
    dropHint: "将 CSV、TSV 或文本文件拖到这里，或者",
    choose: "选择文件",
    staysHere: "文本只会发送到此服务。行和顺序保持不变。",
    fileFacts: "{name} · {rows} 行 · {encoding}",
    fileEmpty: "{name} 中没有数据行。",
    fileLarge: "{name} 超过 {mb} MB。这样大的文件请使用命令行的批量预测。",
    column: "文本所在的列",
    columnNumber: "第 {number} 列",
    header: "第一行是列名",
    start: "开始标注",
    cancel: "停止",
    download: "下载结果",
    another: "换一个文件",
    progress: "已完成 {done} / {rows} 行，每秒 {rate} 行",
    finished: "{rows} 行标注完成，用时 {seconds} 秒。",
    refused: "{count} 行被拒绝，原因见“error”列。",
    outside: "{count} 行的措辞与训练文本不同。",
    cancelled: "已停止：完成 {done} / {rows} 行。",
    cardTitle: "关于此模型",
    classes: "标签",
    version: "版本",
    architecture: "结构",
    metrics: "在未见过的文本上测得",
    scope: "措辞与训练文本不同的文本",
    falseAlarms: "会被标出；熟悉的文本中误报 {share}",
    lineage: "来源",
    interval: "{value}（{low} 至 {high}）",
    wholeCard: "完整的模型卡",
    unreachable: "无法连接到服务，稍后会重试。",
    busy: "服务繁忙，正在重试……",
  },
};

// What the usual figures are called; others keep their own names.
const METRICS = {
  accuracy: ["Accuracy", "准确率"],
  macro_f1: ["Macro F1", "宏平均 F1"],
  micro_f1: ["Micro F1", "微平均 F1"],
  weighted_f1: ["Weighted F1", "加权 F1"],
  span_f1: ["Span F1", "片段 F1"],
  macro_precision: ["Macro precision", "宏平均精确率"],
  macro_recall: ["Macro recall", "宏平均召回率"],
  matthews: ["Matthews correlation", "马修斯相关系数"],
  log_loss: ["Log loss", "对数损失"],
  roc_auc: ["ROC AUC", "ROC AUC"],
  pr_auc: ["PR AUC", "PR AUC"],
  expected_calibration_error: ["Calibration error", "校准误差"],
};

const KEY = "language";

let language = localStorage.getItem(KEY) ?? (navigator.languages.find((tag) => /^(en|zh)/i.test(tag)) ?? "en").slice(0, 2).toLowerCase();
if (!(language in MESSAGES)) language = "en";

export const chosenLanguage = () => language;

export function chooseLanguage(chosen) {
  language = chosen;
  localStorage.setItem(KEY, chosen);
}

// The message of that name with its {places} filled.
export function message(name, values = {}) {
  return MESSAGES[language][name].replace(/\{(\w+)\}/g, (_, place) => values[place]);
}

export const metricName = (name) => METRICS[name]?.[language === "zh" ? 1 : 0] ?? name.replaceAll("_", " ");

export function translatePage() {
  document.documentElement.lang = language === "zh" ? "zh-Hans" : language;
  for (const element of document.querySelectorAll("[data-message]")) element.textContent = message(element.dataset.message);
  for (const element of document.querySelectorAll("[data-placeholder]")) element.placeholder = message(element.dataset.placeholder);
}

export const number = (value, digits = 0) =>
  new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(value);

export const percent = (share) =>
  new Intl.NumberFormat(language, { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 }).format(share);

export const points = (weight) =>
  new Intl.NumberFormat(language, { signDisplay: "exceptZero", minimumFractionDigits: 1, maximumFractionDigits: 1 }).format(weight * 100);
