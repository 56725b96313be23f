// The sample page: forms for the operations, and what became of each request. What a shop
// needs of it is the package that it imports; the rest is there to show what happens.

import { Membercard, MembercardError, bearerLogin, fetchTransport, oauthLogin, openBrandCard, openMerchantCard } from "../../clients/js/index.js";
import { readPlan, showCampaign } from "./campaign.js";
import { $, colour, h, replace } from "./dom.js";
import { offer, showStory, storyState } from "./story.js";
import { say, sayIfKnown, speak, words, zh } from "./words.js";

/**
 * @typedef {import("../../clients/js/openapi.js").components["schemas"]} schemas
 * @typedef {import("./words.js").Word} Word
 * @typedef {{ api: string, auth: "none" | "iam" | "jwt" | "wechat", token?: string, backend?: string, login?: boolean, faults?: boolean }} Settings
 * @typedef {{ status: number, ms: number, requestId: string | null }} Sent one request that the client sent
 * @typedef {{ n: number, side: "wechatpay" | "officialaccount", endpoint: number, method: string, uri: string, status: number,
 *   authorization?: Record<string, string>, verified?: boolean, refusal?: string, proof?: Record<string, string>, errcode?: number }} Received
 */

/**
 * What WeChat's JS-SDK gives a page, as far as it is used here.
 * @type {{
 *   invoke?: unknown,
 *   addCard?: (input: schemas["CardExtAnswer"] & { success: (result: { errMsg?: string }) => void, fail: (result: { errMsg?: string }) => void }) => void,
 * } | undefined}
 */
const wx = /** @type {any} */ (globalThis).wx;

// Where the page is.

/** @type {Settings} */
let settings = { api: document.body.dataset.api ?? "", auth: /** @type {Settings["auth"]} */ (document.body.dataset.auth ?? "none") };
let local = false; // whether the local stack serves the page

async function readSettings() {
  try {
    const response = await fetch("playground.json");
    if (!response.ok || !response.headers.get("Content-Type")?.includes("json")) return;
    settings = await response.json();
    local = true;
  } catch {
    // A sample page of its own: <body> has the settings.
  }
}

// The login. Where the page is served by the local stack, the stack hands out codes as
// WeChat's OAuth redirect would bring them.

/** @type {{ code: string, from: "local" | "oauth", uses: number } | undefined} */
let login;

/** @type {import("../../clients/js/index.js").Login} */
const localLogin = {
  async header() {
    if (!login) {
      const { code } = await (await fetch("login", { method: "POST" })).json();
      login = { code, from: "local", uses: 0 };
    }
    return `WeChat-OAuth ${login.code}`;
  },
  forget() {
    login = undefined;
  },
};

/** @returns {import("../../clients/js/index.js").Login | undefined} */
function chooseLogin() {
  if (settings.auth === "jwt") return bearerLogin(() => settings.token ?? "");
  if (settings.auth !== "wechat") return undefined;
  if (settings.login) return watched(localLogin);
  const { appid } = document.body.dataset;
  return appid ? watched(oauthLogin({ appid })) : undefined;
}

/**
 * Shows a login and how often its code was sent.
 * @param {import("../../clients/js/index.js").Login} inner
 * @returns {import("../../clients/js/index.js").Login}
 */
const watched = (inner) => ({
  async header() {
    const header = await inner.header();
    const code = header.replace("WeChat-OAuth ", "");
    if (login?.code !== code) login = { code, from: "oauth", uses: 0 };
    login.uses++;
    showLogin();
    return header;
  },
  forget() {
    inner.forget();
    login = undefined;
    showLogin();
  },
});

async function logInAgain() {
  logins?.forget();
  await logins?.header().catch(() => {}); // the page may be left for WeChat's
  if (login) login.uses = 0;
  showLogin();
}

// The client, watched.

/** @type {Sent[]} */
let sent = [];
/** @type {import("../../clients/js/index.js").Login | undefined} */
let logins;
/** @type {Membercard} */
let membercard;
/** @type {Membercard} for what only AWS_IAM may call: through the merchant's backend, where there is one */
let backend;

function makeClients() {
  const transport = fetchTransport(async (url, input) => {
    const began = performance.now();
    const response = await fetch(url, input);
    sent.push({ status: response.status, ms: performance.now() - began, requestId: response.headers.get("X-WeChat-Request-Id") });
    return response;
  });
  logins = chooseLogin();
  membercard = new Membercard({ api: settings.api, login: logins, transport });
  backend = settings.backend ? new Membercard({ api: settings.backend, transport }) : membercard;
  if (settings.auth === "iam") membercard = backend;
  if (settings.auth === "none") backend = membercard;
}

/** @param {Operation} o */
const byBackend = (o) => Boolean(settings.backend) && (settings.auth === "iam" || (o.id === "update" && settings.auth !== "none"));

// The operations.

/**
 * @typedef {object} Field
 * @property {string} name
 * @property {string} value the document's example
 * @property {"text" | "check"} [kind]
 * @property {[value: string, label: Word][]} [options]
 * @property {Word} [hint]
 * @property {Word} [group] a heading above
 */

/**
 * @typedef {object} Attempt one error to try: values for fields
 * @property {Word} label
 * @property {Record<string, string>} values
 */

/**
 * @typedef {object} HandOver what goes to WeChat
 * @property {string} code
 * @property {Word} label
 * @property {(() => void) | false | undefined} open
 */

/**
 * @typedef {object} Operation
 * @property {"merchant" | "brand" | "ext" | "update"} id
 * @property {() => string} path
 * @property {Field[]} fields
 * @property {Attempt[]} tries
 * @property {() => object} body
 * @property {() => Promise<object>} run
 * @property {(answer: any) => HandOver | undefined} handOver
 */

/** @type {Record<string, Record<string, string>>} what is in the forms, by operation */
const values = {};

/**
 * A field's value; undefined if it is empty, and then it is not sent.
 * @param {string} operation
 * @param {string} name
 */
const value = (operation, name) => values[operation][name] || undefined;

const sampleCard = "pbLatjvWOibDc5-TBnbUk1pD12o0";

/** @returns {schemas["PermissionTokenRequest"]} */
const merchantBody = () => ({
  activate_type: /** @type {schemas["PermissionTokenRequest"]["activate_type"]} */ (value("merchant", "activate_type") ?? ""),
  navigate_back_previous_page: value("merchant", "navigate_back_previous_page") === "true",
  activate_url: value("merchant", "activate_url"),
  activate_appid: value("merchant", "activate_appid"),
  activate_path: value("merchant", "activate_path"),
  outer_str: value("merchant", "outer_str"),
});

/** @returns {schemas["BrandTokenRequest"]} */
const brandBody = () => ({
  brand_id: value("brand", "brand_id") ?? "",
  card_id: value("brand", "card_id") ?? "",
  openid: value("brand", "openid"),
});

/** @returns {schemas["CardToSign"][]} */
const cards = () => [
  {
    card_id: value("ext", "card_id") ?? "",
    code: value("ext", "code"),
    openid: value("ext", "openid"),
    outer_str: value("ext", "outer_str"),
  },
];

/** @returns {schemas["CardUpdate"]} */
const updateBody = () => ({
  card_id: value("update", "card_id") ?? "",
  member_card: {
    base_info: {
      custom_url_name: value("update", "custom_url_name"),
      custom_url: value("update", "custom_url"),
      custom_app_brand_user_name: value("update", "custom_app_brand_user_name"),
      custom_app_brand_pass: value("update", "custom_app_brand_pass"),
      custom_url_sub_title: value("update", "custom_url_sub_title"),
      promotion_url_name: value("update", "promotion_url_name"),
      promotion_url: value("update", "promotion_url"),
      promotion_app_brand_user_name: value("update", "promotion_app_brand_user_name"),
      promotion_app_brand_pass: value("update", "promotion_app_brand_pass"),
    },
  },
});

/**
 * Hands a token to WeChat's card component.
 * @param {string} call how a page does that
 * @param {string} input what the component gets
 * @param {() => Promise<void>} open
 * @returns {HandOver}
 */
const handOver = (call, input, open) => ({
  code: `await ${call};\n// ${input}`,
  label: "openComponent",
  open: Boolean(wx?.invoke) && (() => void open().then(() => showWechat("cameBack"), (error) => showWechat("opened", error.words(document.documentElement.lang)))),
});

/** @type {Operation[]} */
const operations = [
  {
    id: "merchant",
    path: () => `/v3/marketing/membercard-open/cards/${encodeURIComponent(value("merchant", "card_id") ?? "")}/permission-tokens`,
    fields: [
      { name: "card_id", value: sampleCard },
      { name: "activate_type", value: "AUTO_ACTIVATE", options: [["AUTO_ACTIVATE", "o_AUTO_ACTIVATE"], ["JUMP_ACTIVATE", "o_JUMP_ACTIVATE"]] },
      { name: "navigate_back_previous_page", value: "true", kind: "check" },
      { name: "activate_url", value: "https://w.url.cn/s/Ahz3p2C" },
      { name: "activate_appid", value: "wxea9c30a90fs8d3fe" },
      { name: "activate_path", value: "pages/activate/activate" },
      { name: "outer_str", value: "szwxtd" },
    ],
    tries: [
      { label: "tryRule", values: { activate_type: "JUMP_ACTIVATE", activate_url: "", activate_appid: "" } },
      { label: "tryNoAuth", values: { card_id: "pNoAuth" } },
      { label: "tryUnknown", values: { card_id: "pUnknown" } },
    ],
    body: merchantBody,
    run: () => membercard.merchantToken(value("merchant", "card_id") ?? "", merchantBody()),
    handOver: (/** @type {schemas["PermissionToken"]} */ answer) => handOver(`openMerchantCard("${answer.permission_token}")`, "wxpaymktMemberOpen: permission_token=…", () => openMerchantCard(answer.permission_token)),
  },
  {
    id: "brand",
    path: () => `/v3/brand/partner/card-member/${value("brand", "path")}`,
    fields: [
      { name: "path", value: "pre-auth-tokens", options: [["pre-auth-tokens", "o_new"], ["open-user-card-tokens", "o_old"]] },
      { name: "brand_id", value: "1004" },
      { name: "card_id", value: sampleCard },
      { name: "openid", value: "obLatjnx9gnqzS4myYGmLZ7LgLBA", hint: "h_openid" },
    ],
    tries: [
      { label: "tryRule", values: { brand_id: "" } },
      { label: "tryBrand", values: { brand_id: "9999" } },
      { label: "tryOpenid", values: { openid: "oWrong" } },
    ],
    body: brandBody,
    run: () => (value("brand", "path") === "open-user-card-tokens" ? membercard.post(operations[1].path(), brandBody()) : membercard.brandToken(brandBody())),
    handOver: (/** @type {schemas["BrandToken"]} */ answer) => handOver(`openBrandCard("${answer.token}")`, "wxpayCardMember: token=…&scene=CARD_MEMBER", () => openBrandCard(answer.token)),
  },
  {
    id: "ext",
    path: () => "/card/ext",
    fields: [
      { name: "card_id", value: sampleCard },
      { name: "outer_str", value: "szwxtd" },
      { name: "code", value: "", hint: "h_code" },
      { name: "openid", value: "", hint: "h_ext_openid" },
    ],
    tries: [{ label: "tryRule", values: { card_id: "会员卡 1" } }],
    body: () => ({ cardList: cards() }),
    run: () => membercard.cardExt(cards()),
    handOver: (/** @type {schemas["CardExtAnswer"]} */ answer) => ({
      code: `wx.addCard(${JSON.stringify({ cardList: answer.cardList }, null, 2)})`,
      label: "addCard",
      open: wx?.addCard && (() => wx?.addCard?.({ cardList: answer.cardList, success: added, fail: added })),
    }),
  },
  {
    id: "update",
    path: () => "/card/update",
    fields: [
      { name: "card_id", value: sampleCard },
      { name: "custom_url_name", value: "立即使用", group: "g_custom" },
      { name: "custom_url_sub_title", value: "6个汉字tips" },
      { name: "custom_app_brand_user_name", value: "gh_86a091e50ad4@app" },
      { name: "custom_app_brand_pass", value: "API/cardPage" },
      { name: "custom_url", value: "http://www.qq.com" },
      { name: "promotion_url_name", value: "更多优惠", group: "g_promotion" },
      { name: "promotion_app_brand_user_name", value: "gh_86a091e50ad4@app" },
      { name: "promotion_app_brand_pass", value: "API/cardPage" },
      { name: "promotion_url", value: "http://www.qq.com" },
    ],
    tries: [
      { label: "tryPair", values: { custom_app_brand_pass: "" } },
      { label: "tryLong", values: { card_id: "pNoSuchCard" } },
    ],
    body: updateBody,
    run: () => backend.post("/card/update", updateBody()),
    handOver: () => undefined,
  },
];

for (const { id, fields } of operations) values[id] = Object.fromEntries(fields.map((f) => [f.name, f.value]));

let operation = operations.find(({ id }) => `#${id}` === location.hash) ?? operations[0];

// What became of the last request.

/**
 * @typedef {object} Outcome
 * @property {Operation} operation
 * @property {boolean} busy
 * @property {number} began
 * @property {number} ms
 * @property {object} [answer]
 * @property {MembercardError} [error]
 * @property {Sent[]} sent
 * @property {Received[]} received
 * @property {{ word: Word, message: string }} [wechat] what came of what WeChat was handed
 */

/** @type {Outcome | undefined} */
let outcome;

/**
 * @param {number} after
 * @returns {Promise<{ n: number, requests: Received[] }>}
 */
async function receivedSince(after) {
  try {
    return await (await fetch(`received?after=${after}`)).json();
  } catch {
    return { n: after, requests: [] }; // the stack has ended, which the request itself tells
  }
}

async function submit() {
  if (outcome?.busy) return;
  /** @type {Outcome} */
  const o = { operation, busy: true, began: performance.now(), ms: 0, sent: [], received: [] };
  outcome = o;
  sent = o.sent;
  show();
  if (matchMedia("(max-width: 959px)").matches) $("result").scrollIntoView({ behavior: "smooth", block: "start" });

  let since = 0;
  if (local) since = (await receivedSince(Number.MAX_SAFE_INTEGER)).n;
  const watch = setInterval(async () => {
    o.ms = performance.now() - o.began;
    showTime();
    const before = o.received.length;
    if (local && o.ms > 400) {
      const { requests } = await receivedSince(since);
      if (o.busy) o.received = requests;
    }
    if (o.busy && o.received.length !== before) showResult();
  }, 200);

  try {
    o.answer = await operation.run();
  } catch (error) {
    o.error = error instanceof MembercardError ? error : new MembercardError(0, { code: "NOT_ANSWERED", message: String(error) }); // the login's fetch
  } finally {
    clearInterval(watch);
    o.ms = o.sent.at(-1)?.ms ?? performance.now() - o.began;
    if (local) o.received = (await receivedSince(since)).requests;
    o.busy = false;
    if (outcome === o) {
      offerCard(o);
      show();
      focusOn(o);
    }
  }
}

/**
 * Leads to what became of a request: the field at fault, or the result.
 * @param {Outcome} o
 */
function focusOn(o) {
  const field = o.error && document.querySelector("#form [aria-invalid]");
  if (field instanceof HTMLElement) return field.focus();
  const result = $("result");
  result.focus({ preventScroll: true });
  const { top } = result.getBoundingClientRect();
  if (top < 0 || top > innerHeight / 2) result.scrollIntoView({ block: "start" });
}

/**
 * Offers the token to the customer of the local stack.
 * @param {Outcome} o
 */
function offerCard(o) {
  const { id } = o.operation;
  const token = tokenOf(o.answer);
  if (!settings.faults || !token || (id !== "merchant" && id !== "brand")) return offer(undefined);
  offer({
    id,
    token,
    card: id === "brand" ? brandBody() : { card_id: value(id, "card_id") ?? "" },
    backend: settings.backend ?? "",
    changed: showCard,
    mint: async () => {
      membercard.forgetBrandToken(brandBody());
      return tokenOf(await o.operation.run());
    },
  });
}

/** @param {object | undefined} answer */
const tokenOf = (answer) => {
  const { token, permission_token } = /** @type {Partial<schemas["BrandToken"] & schemas["PermissionToken"]>} */ (answer ?? {});
  return token ?? permission_token ?? "";
};

// Showing it.

function show() {
  document.documentElement.lang = words === zh ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-words]")) {
    element.textContent = say(/** @type {Word} */ (/** @type {HTMLElement} */ (element).dataset.words));
  }
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String((/** @type {HTMLElement} */ (button).dataset.language === "zh") === (words === zh)));
  }
  showSettings();
  showLogin();
  showForm();
  showResult();
  showStory();
  showCampaign();
}

function showSettings() {
  $("api").textContent = settings.api || "—";
  $("api-note").textContent = settings.api ? [say(local ? "apiLocal" : "apiLive"), say(`auth_${settings.auth}`)].join(words === zh ? "" : " ") : say("apiMissing");
  $("faults").hidden = !settings.faults;
  const chosen = /** @type {HTMLInputElement | null} */ (document.querySelector("[name=fault]:checked"));
  $("fault-note").textContent = say(/** @type {Word} */ (`faultNote_${chosen?.value ?? "heal"}`));
}

function showLogin() {
  $("login").hidden = settings.auth !== "wechat";
  const code = login ? `${login.code.slice(0, 6)}…` : "";
  /** @type {Word} */
  let word = "loginNone";
  if (login) word = login.uses > 1 ? "loginReused" : login.from === "local" ? "loginFresh" : "loginOAuth";
  else if (!settings.login && !document.body.dataset.appid) word = "loginNeeded";
  $("login-note").textContent = say(word, { code });
}

function showForm() {
  replace(
    $("tabs"),
    ...operations.map((o) =>
      h("button", { type: "button", role: "tab", id: `tab-${o.id}`, "aria-selected": String(o === operation), "aria-controls": "form", tabindex: o === operation ? 0 : -1, click: () => choose(o), keydown: (/** @type {KeyboardEvent} */ e) => step(e) }, say(`${o.id}Tab`)),
    ),
  );
  const fault = outcome && !outcome.busy && outcome.operation === operation ? outcome.error : undefined;
  const preview = h("pre", null);
  const path = h("p", { class: "mono" });
  const update = () => {
    path.textContent = `POST ${operation.path()}`;
    preview.replaceChildren(...colour(operation.body()));
  };
  const form = $("form");
  form.setAttribute("aria-labelledby", `tab-${operation.id}`);
  replace(
    form,
    h("h2", null, say(`${operation.id}Title`)),
    path,
    h("p", { class: "note" }, say(`${operation.id}Says`)),
    ...(byBackend(operation) ? [h("p", { class: "note" }, say("byBackend"))] : []),
    h(
      "div",
      { class: operation.id === "update" ? "fields pairs" : "fields" },
      ...operation.fields.flatMap((field) => [field.group && h("h3", null, say(field.group)), showField(field, fault, update)]),
    ),
    h(
      "div",
      { class: "tries" },
      say("tries"),
      ...operation.tries.map((t) => h("button", { type: "button", class: "quiet", id: `try-${t.label}`, click: () => fill(t.values) }, say(t.label))),
      h("button", { type: "button", class: "quiet", id: "try-again", click: () => fill({}) }, say("tryReset")),
    ),
    h("details", null, h("summary", null, say("sends")), preview),
    h("button", { type: "submit", id: "send", class: "go", disabled: !settings.api, "aria-disabled": outcome?.busy && "true" }, say(outcome?.busy ? "sending" : `${operation.id}Send`)),
  );
  update();
  showCard();
}

/**
 * @param {Field} field
 * @param {MembercardError | undefined} fault
 * @param {() => void} changed
 */
function showField(field, fault, changed) {
  const { name } = field;
  const id = `f-${name}`;
  const wrong = fault?.field?.split("/").at(-1) === name;
  const attributes = {
    id,
    name,
    "aria-invalid": wrong && "true",
    "aria-describedby": [field.hint && `${id}-hint`, wrong && `${id}-issue`].filter(Boolean).join(" ") || null,
    input: (/** @type {Event} */ e) => {
      const input = /** @type {HTMLInputElement} */ (e.target);
      values[operation.id][name] = field.kind === "check" ? String(input.checked) : input.value.trim();
      changed();
      showCard();
    },
  };
  const label = h("label", { for: id }, h("span", null, say(/** @type {Word} */ (`f_${name}`))), h("code", null, name === "path" ? "URI" : name));
  const notes = [
    field.hint && h("p", { class: "note", id: `${id}-hint` }, say(field.hint)),
    wrong && h("p", { class: "issue", id: `${id}-issue` }, fault?.message),
  ];
  const now = values[operation.id][name];
  if (field.kind === "check") {
    const box = h("input", { ...attributes, type: "checkbox", checked: now === "true" });
    label.prepend(box);
    return h("div", { class: "check" }, label, ...notes);
  }
  const input = field.options
    ? h("select", attributes, ...field.options.map(([value, text]) => h("option", { value, selected: value === now }, name === "path" ? say(text) : `${value} · ${say(text)}`)))
    : h("input", { ...attributes, type: "text", value: now, autocomplete: "off", autocapitalize: "off", spellcheck: "false" });
  return h("div", { class: "field" }, label, input, ...notes);
}

/** @param {Operation} o */
function choose(o) {
  if (o !== operation) {
    outcome = undefined; // what it shows is the other tab's
    offer(undefined);
  }
  operation = o;
  history.replaceState(null, "", `#${o.id}`);
  show();
  $(`tab-${o.id}`).focus();
}

/** @param {KeyboardEvent} e */
function step(e) {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
  if (by) choose(operations[(operations.indexOf(operation) + by + operations.length) % operations.length]);
}

/** @param {Record<string, string>} changes to the document's example */
function fill(changes) {
  values[operation.id] = { ...Object.fromEntries(operation.fields.map((f) => [f.name, f.value])), ...changes };
  showForm();
}

function showCard() {
  const o = outcome?.operation === operation ? outcome : undefined;
  const card = $("card");
  const state = !o ? "idle" : o.busy ? "busy" : o.error ? "failed" : "done";
  if (card.dataset.state !== state) card.dataset.state = state;
  $("card-id").textContent = o?.busy === false ? ($("card-id").textContent ?? "") : values[operation.id].card_id || "—";
  /** @type {Record<string, Word>} */
  const says = { idle: "cardIdle", busy: "cardBusy", failed: operation.id === "update" ? "cardNotUpdated" : "cardFailed", done: operation.id === "update" ? "cardUpdated" : "cardDone" };
  /** @type {Record<string, Word>} */
  const opened = { EFFECTIVE: "cardMember", UNACTIVATED: "cardOpened", REFUSED: "cardRefused" };
  $("card-state").textContent = say(opened[storyState(operation.id)] ?? says[state]);
  const parts = words === zh ? ["验签", "通过"] : ["✓", "verified"];
  $("stamp").replaceChildren(...parts.map((part) => h("span", null, part)));
  $("stamp").hidden = !o?.received.some((r) => r.verified);
}

function showTime() {
  const took = document.querySelector(".took");
  if (took && outcome) took.textContent = time(outcome.ms);
}

/** @param {number} ms */
const time = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} ${say("seconds")}`);

function showResult() {
  const result = $("result");
  result.setAttribute("aria-busy", String(outcome?.busy ?? false));
  const o = outcome;
  if (!o) {
    replace(result, hops(), h("p", { class: "empty" }, say("empty")));
    return;
  }
  const kept = !o.busy && !o.error && o.sent.length === 0;
  replace(
    result,
    ...[
      hops(o),
      showStatus(o, kept),
      kept && showKept(o),
      !o.busy && o.error && showFault(o, o.error),
      !o.busy && o.answer && showAnswer(o.answer),
      !o.busy && o.answer && showHandOver(o, o.answer),
      local && !kept && showReceived(o),
    ].filter((part) => part instanceof Node),
  );
}

/**
 * How far the request came.
 * @param {Outcome} [o]
 */
function hops(o) {
  /** @type {string[]} of page, way, API, way, WeChat */
  let states = ["", "", "", "", ""];
  if (o?.busy) states = ["ok", "busy", "", o.received.length ? "busy" : "", ""];
  else if (o?.error?.status === 0) states = ["ok", "bad", "", "", ""];
  else if (o?.error) {
    const reached = called(o) || o.error.requestId || [502, 504].includes(o.error.status);
    states = reached ? ["ok", "ok", "ok", o.error.status === 504 ? "bad" : "ok", "bad"] : ["ok", "ok", "bad", "", ""];
  } else if (o && o.sent.length === 0) states = ["ok", "", "", "", ""];
  else if (o) states = local && !called(o) ? ["ok", "ok", "ok", "", ""] : ["ok", "ok", "ok", "ok", "ok"];
  const [page, there, api, on, wechat] = states;
  return h("p", { class: "hops" }, h("b", { class: page }, say("hopPage")), h("i", { class: there }), h("b", { class: api }, say("hopApi")), h("i", { class: on }), h("b", { class: wechat }, say("hopWechat")));
}

/**
 * @param {Outcome} o
 * @param {boolean} kept
 */
function showStatus(o, kept) {
  const last = o.sent.at(-1);
  const status = o.busy ? "…" : o.error ? o.error.status || "—" : kept ? "✓" : (last?.status ?? "✓");
  const limited = o.sent.filter(({ status }) => status === 429).length - (o.error?.status === 429 ? 1 : 0);
  return h(
    "div",
    null,
    h(
      "p",
      { class: o.error && !o.busy ? "status bad" : "status", id: "status" },
      h("strong", null, status),
      h("span", { class: "says" }, o.busy ? say("sending") : o.error ? say("failure") : say("success")),
      !kept && h("span", { class: "took", "aria-label": say("took") }, time(o.ms)),
    ),
    !o.busy && limited > 0 && h("p", { class: "note" }, say("retried", { n: limited })),
    !o.busy && !o.error && last?.requestId && h("p", { class: "note" }, `${say("requestId")} `, h("code", null, last.requestId)),
  );
}

/** @param {Outcome} o */
function showKept(o) {
  const until = /** @type {schemas["BrandToken"]} */ (o.answer).expire_time;
  const time = new Date(Date.parse(until) - 60_000).toLocaleTimeString(words === zh ? "zh-CN" : "en", { hour: "2-digit", minute: "2-digit" });
  return h(
    "div",
    null,
    h("p", null, say("kept", { time })),
    h("button", { type: "button", class: "quiet", click: () => (membercard.forgetBrandToken(brandBody()), submit()) }, say("forget")),
  );
}

/**
 * @param {Outcome} o
 * @param {MembercardError} error
 */
function showFault(o, error) {
  const code = error.code.startsWith("WECHAT_") ? "WECHAT" : error.code === "RATELIMIT_EXCEEDED" ? "FREQUENCY_LIMITED" : error.code;
  /** @type {[label: Word, value: string | undefined][]} */
  const rows = [["says", error.message], ["customer", error.words(document.documentElement.lang)], ["solution", words === zh ? undefined : error.solution], ["field", error.field], ["requestId", error.requestId]];
  return h(
    "div",
    { class: "fault", id: "fault" },
    h("h3", null, sayIfKnown(`e_${code}`) ?? say("e_OTHER")),
    h("p", null, sayIfKnown(`a_${code}`) ?? say("a_OTHER")),
    h(
      "dl",
      null,
      h("dt", null, "code"),
      h("dd", null, h("code", null, error.code)),
      ...rows.flatMap(([label, value]) => (value ? [h("dt", null, say(label)), h("dd", label === "says" && { lang: /\p{Script=Han}/u.test(value) ? "zh-CN" : "en" } || null, label === "field" ? h("code", null, value) : value)] : [])),
    ),
    local && !called(o) && error.status === 400 && h("p", { class: "note" }, say("notCalled")),
  );
}

/** @param {object} answer */
function showAnswer(answer) {
  const text = JSON.stringify(answer, null, 2);
  const copy = h("button", { type: "button", class: "quiet", id: "copy", click: () => navigator.clipboard.writeText(text).then(() => (copy.textContent = say("copied"))) }, say("copy"));
  return h("section", { id: "answer" }, h("h3", null, say("answer"), navigator.clipboard && copy), h("pre", null, ...colour(answer)));
}

/**
 * @param {Outcome} o
 * @param {object} answer
 */
function showHandOver(o, answer) {
  const handed = o.operation.handOver(answer);
  if (!handed) return;
  const open = handed.open;
  return h(
    "section",
    { id: "hand-over" },
    h("h3", null, say("handOver")),
    h("pre", null, handed.code),
    h("p", { class: "note" }, say(open ? "handOverInside" : "handOverOutside")),
    open && h("button", { type: "button", class: "go", id: "hand-it-over", click: open }, say(handed.label)),
    o.wechat && h("p", { class: "note" }, say(o.wechat.word, o.wechat)),
  );
}

/**
 * @param {Word} word
 * @param {string} [message] WeChat's
 */
function showWechat(word, message = "") {
  if (outcome) outcome.wechat = { word, message };
  showResult();
}

/** @param {{ errMsg?: string }} result */
const added = (result) => showWechat("opened", result.errMsg);

/**
 * Whether WeChat was called for the operation itself, and not just for the login.
 * @param {Outcome} o
 */
const called = (o) => o.received.some(({ uri }) => !uri.startsWith("/sns/"));

/** @param {Outcome} o */
function showReceived(o) {
  return h(
    "section",
    { id: "received" },
    h("h3", null, say("received")),
    ...(o.answer && o.operation.id === "ext" && !called(o) ? [h("p", { class: "note" }, say("receivedTicket"))] : []),
    ...(o.received.length ? o.received.map((r, i) => showOne(r, o.received.findIndex(({ side }) => side === r.side) === i)) : [h("p", { class: "note" }, say(o.busy ? "receivedWait" : "receivedNone"))]),
  );
}

/**
 * @param {Received} r
 * @param {boolean} first of its side
 */
function showOne(r, first) {
  const pay = r.side === "wechatpay";
  const proof = Object.entries(pay ? (r.authorization ?? {}) : (r.proof ?? {}));
  const good = pay ? r.verified : !proof.some(([, value]) => value === "dead");
  /** @param {string} value */
  const shown = (value) => (!pay && (value === "valid" || value === "dead") ? say(value) : value);
  const head = [
    h(
      "p",
      { class: "line" },
      h("span", null, `${say(r.side)} · ${say(r.endpoint === 0 ? "primary" : "secondary")} · `, r.status ? `HTTP ${r.status}` : h("span", { class: "bad-text" }, say("unanswered"))),
      pay && h("span", { class: good ? "seal" : "seal bad" }, say(good ? "verified" : "unverified")),
    ),
    h("p", { class: "uri" }, h("b", null, r.method), " ", r.uri),
  ];
  const body = [
    proof.length > 0 && h("dl", { class: "proof" }, ...proof.flatMap(([name, value]) => [h("dt", null, name), h("dd", null, shown(value))])),
    r.refusal && h("p", { class: "note bad-text" }, `${say("refusal")}: ${r.refusal}`),
    r.errcode && h("p", { class: "note bad-text" }, `errcode ${r.errcode}`),
  ];
  // Of several attempts the first tells it all; the others can be opened.
  if (first || !pay) return h("div", { class: "seen" }, ...head, ...body);
  return h("div", { class: "seen" }, h("details", null, h("summary", null, ...head), ...body));
}

// The buttons.

$("form").addEventListener("submit", (e) => {
  e.preventDefault();
  submit();
});
$("log-in").addEventListener("click", logInAgain);
for (const button of document.querySelectorAll("[data-language]")) {
  button.addEventListener("click", () => {
    speak(/** @type {HTMLElement} */ (button).dataset.language === "zh" ? "zh" : "en");
    show();
  });
}
$("faults").addEventListener("change", async (e) => {
  const fault = /** @type {HTMLInputElement} */ (e.target).value;
  await fetch("break", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ fault }) });
  if (!outcome?.busy) outcome = undefined; // of the choice before
  show();
});

await readSettings();
if (settings.faults) {
  await fetch("break", { method: "POST", headers: { "Content-Type": "application/json" }, body: '{"fault":"heal"}' });
  await readPlan();
}
makeClients();
show();
