// What becomes of a card after its token: the page of `go run ./local` asks its sandbox
// to play the customer and WeChat, and shows each step. A shop needs nothing of this.

import { $, colour, h, replace } from "./dom.js";
import { say, words, zh } from "./words.js";

/**
 * @typedef {import("./words.js").Word} Word
 * @typedef {"" | "lost" | "twice" | "probe" | "forged" | "refused"} Trouble
 * @typedef {{ id: string, time: string, what: "opened" | "notification" | "event" | "waiting" | "dead_letter" | "call" | "member", name?: string, status?: number,
 *   kind?: "regular" | "probe" | "duplicate" | "forgery", number?: number, lost?: boolean, header?: Record<string, string>, refusal?: string, next?: string,
 *   content?: object }} Step
 * @typedef {{ url?: string, appid?: string, path?: string, extra_data?: Record<string, string> }} Jump where WeChat takes the customer
 */

/**
 * @typedef {object} Offer a token that can be opened
 * @property {"merchant" | "brand"} id
 * @property {string} token
 * @property {{ brand_id?: string, card_id: string, openid?: string }} card
 * @property {boolean} [used]
 * @property {() => Promise<string>} mint gets another token for the same card
 * @property {string} backend URL of the merchant's backend
 * @property {() => void} changed is called when the card's state changes
 */

/**
 * @typedef {object} Story
 * @property {Offer} offer
 * @property {Trouble} trouble
 * @property {string} code
 * @property {string} state
 * @property {Step[]} steps
 * @property {Jump} [jump]
 * @property {string} [failed] why the card was not opened
 * @property {{ card: Record<string, string>, form: object }} [read] what the merchant's backend has read
 * @property {boolean} [activated]
 * @property {string} [activationFailed]
 */

/** @type {Offer | undefined} */
let offered;
/** @type {Story | undefined} */
let story;
/** @type {Trouble} */
let trouble = "";
let opening = false;
/** @type {Map<string, { json: string, item: HTMLElement }>} the steps on the page */
const shown = new Map();

/**
 * Offers a token to be opened; undefined takes the offer back.
 * @param {Offer | undefined} next
 */
export function offer(next) {
  if (next?.token === offered?.token && next?.id === offered?.id) return;
  if (next?.id !== offered?.id) trouble = "";
  offered = next;
  story = undefined;
  showStory();
}

/**
 * The state of the card that was opened with a token of an operation.
 * @param {string} id the operation
 */
export const storyState = (id) => (story?.offer.id !== id ? "" : has(story, "dead_letter") ? "REFUSED" : story.state);

/** @returns {[Trouble, Word][]} what may happen to a card on its way */
const troubles = () => {
  /** @type {[Trouble, Word][]} */
  const always = [["", "troubleNone"], ["lost", "troubleLost"], ["twice", "troubleTwice"], ["probe", "troubleProbe"]];
  return offered?.id === "brand" ? [...always, ["forged", "troubleForged"], ["refused", "troubleRefused"]] : always;
};

async function open() {
  const order = offered;
  if (!order || opening) return;
  opening = true;
  /** @type {Story} */
  const s = { offer: order, trouble, code: "", state: "", steps: [] };
  story = s;
  showStory();
  try {
    if (trouble !== "forged") {
      if (order.used) order.token = await order.mint();
      order.used = true;
    }
    const { code, jump } = await post("open", { token: order.token, trouble, ...order.card });
    s.code = code;
    s.jump = jump;
    watch(s);
    if (matchMedia("(max-width: 959px)").matches) setTimeout(() => $(jump ? "jump" : "told").scrollIntoView({ behavior: "smooth", block: "start" }));
  } catch (error) {
    s.failed = /** @type {Error} */ (error).message;
  } finally {
    opening = false;
    showStory();
  }
}

/**
 * Calls the local stack.
 * @param {string} url
 * @param {object} [body] none is a GET
 */
export async function post(url, body) {
  const response = await fetch(url, body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  const answer = response.status === 204 ? {} : await response.json();
  if (!response.ok) throw new Error(answer.message ?? `HTTP ${response.status}`);
  return answer;
}

const quiet = 20; // seconds without a further step after which a story that has ended is over
const patience = 600; // the same, while it has not ended

/** @param {Story} s */
async function watch(s) {
  for (let last = Date.now(); s === story && Date.now() - last < (ended(s) ? quiet : patience) * 1000; ) {
    /** @type {{ state: string, steps: Step[] }} */
    const { state, steps } = await (await fetch(`journey?code=${s.code}`)).json();
    if (s !== story) return;
    if (JSON.stringify(steps.map((step) => step.id)) !== JSON.stringify(s.steps.map((step) => step.id))) last = Date.now();
    const before = storyState(s.offer.id);
    s.steps = steps;
    s.state = state;
    if (storyState(s.offer.id) !== before) s.offer.changed();
    if (before !== "EFFECTIVE" && state === "EFFECTIVE") void query(s);
    showProgress();
    await new Promise((wake) => setTimeout(wake, 250));
  }
}

/**
 * @param {Story} s
 * @param {Step["what"]} what
 */
const has = (s, what) => s.steps.some((step) => step.what === what);

/** @param {Step} step */
const isQuery = ({ what, name = "" }) => what === "call" && /^GET .*\/(\{user_card_code\}|codes\/\{code\})$/.test(name);

/** @param {Story} s */
const ended = (s) => s.state === "EFFECTIVE" || has(s, "dead_letter") || (s.trouble === "forged" && has(s, "notification"));

// The merchant's backend, for JUMP_ACTIVATE.

/**
 * The parameters of a jump, as the merchant's page gets them.
 * @param {Jump} jump
 * @returns {Record<string, string>}
 */
function parameters(jump) {
  if (jump.extra_data) return jump.extra_data;
  const query = new URL(jump.url ?? "").search.slice(1).split("&");
  return Object.fromEntries(query.map((part) => {
    const [name, ...rest] = part.split("=");
    const raw = rest.join("=");
    return [name, name === "encrypt_code" ? raw : decodeURIComponent(raw)]; // encrypt_code is sent as it came
  }));
}

/** @param {Story} s */
async function read(s) {
  const card = parameters(/** @type {Jump} */ (s.jump));
  const open = `${s.offer.backend}/v3/marketing/membercard-open`;
  await attempt(s, async () => {
    if (!card.code) card.code = (await post(`${open}/cards/${card.card_id}/decrypt-code?encrypt_code=${card.encrypt_code}`)).code;
    s.read = { card, form: await post(`${open}/activate-informations/${encodeURIComponent(card.activate_ticket ?? "")}`) };
  });
}

/** @param {Story} s */
async function activate(s) {
  const { card_id, code } = s.read?.card ?? {};
  const card = `${s.offer.backend}/v3/marketing/membercard-open/cards/${card_id}/codes/${code}`;
  await attempt(s, async () => {
    await post(`${card}/activate`, { membership_number: `VIP-${code?.slice(-8)}` });
    s.activated = true;
    await post(`${card}/confirm`, { user_card_confirm_state: "CREATE_CARD_SUCCESS" });
  });
}

/**
 * Asks whether the customer is a member. The answer is one of the steps.
 * @param {Story} s
 */
async function query(s) {
  /** @typedef {{ resource?: Record<string, string> }} Detail */
  const { resource: { brand_id = "", card_id = "", openid = "" } = {} } = /** @type {Detail} */ (s.steps.find(({ what }) => what === "event")?.content ?? {});
  const path = brand_id
    ? `/v3/brand/partner/card-member/user-cards/${s.code}?${new URLSearchParams({ brand_id, card_id, openid })}`
    : `/v3/marketing/membercard-open/cards/${s.offer.card.card_id}/codes/${s.code}`;
  await post(s.offer.backend + path).catch((/** @type {Error} */ error) => console.warn(error.message));
}

/**
 * @param {Story} s
 * @param {() => Promise<void>} calls
 */
async function attempt(s, calls) {
  s.activationFailed = undefined;
  try {
    await calls();
  } catch (error) {
    s.activationFailed = /** @type {Error} */ (error).message;
  }
  showJump();
  const next = /** @type {HTMLElement | null} */ (document.querySelector("#jump .go"));
  (next ?? $("verdict")).focus();
}

// Showing it.

/** Shows all of it anew. */
export function showStory() {
  $("story").hidden = !offered;
  if (!offered) return;
  const choices = troubles();
  replace(
    $("troubles"),
    h("legend", null, say("storyTrouble")),
    h("div", { class: "choice" }, ...choices.map(([value, word]) => h("label", null, h("input", { type: "radio", name: "trouble", id: `trouble-${value}`, value, checked: value === trouble, change: () => choose(value) }), h("span", null, say(word))))),
    h("p", { class: "note", id: "trouble-note", "aria-live": "polite" }),
  );
  choose(trouble);
  shown.clear();
  $("steps").replaceChildren();
  showProgress();
  showJump();
}

/** @param {Trouble} value */
function choose(value) {
  if (value !== trouble && story && !opening) {
    story = undefined; // of the choice before
    $("told").hidden = $("jump").hidden = true;
    offered?.changed();
  }
  trouble = value;
  const again = offered?.used && value !== "forged" ? say("opensNew") : "";
  $("trouble-note").textContent = [say(/** @type {Word} */ (`troubleNote_${value}`)), again].filter(Boolean).join(words === zh ? "" : " ");
  $("open-card").textContent = say(value === "forged" ? "openForged" : "openCard");
}

function showProgress() {
  const s = story;
  $("told").hidden = !s;
  if (!s) return;
  showStages(s);
  const ids = new Set(s.steps.map(({ id }) => id));
  for (const [id, { item }] of shown) {
    if (ids.has(id)) continue;
    item.remove();
    shown.delete(id);
  }
  const list = $("steps");
  let confirmed = false;
  s.steps.forEach((step, i) => {
    const isRepeated = step.what === "call" && confirmed && !isQuery(step);
    confirmed ||= step.what === "call" && step.status === 200 && Boolean(step.name?.endsWith("/confirm"));
    const json = JSON.stringify(step);
    let known = shown.get(step.id);
    if (known?.json !== json) {
      const item = showStep(s, step, isRepeated);
      known?.item.replaceWith(item);
      known = { json, item };
      shown.set(step.id, known);
    }
    if (list.children[i] !== known.item) list.insertBefore(known.item, list.children[i] ?? null);
  });
  const verdict = $("verdict");
  const [text, kind] = judge(s);
  if (verdict.textContent !== text) verdict.textContent = text;
  verdict.className = `verdict ${kind}`;
}

/** @param {Story} s */
function showStages(s) {
  const accepted = s.steps.some(({ what, status = 0 }) => what === "notification" && status >= 200 && status < 300);
  const isMember = s.state === "EFFECTIVE";
  const isDead = has(s, "dead_letter");
  const isEvent = has(s, "event");
  /** @type {[Word, string][]} */
  const stages = [
    ["stage_opened", s.trouble === "forged" ? "" : "ok"],
    ["stage_notification", accepted ? "ok" : has(s, "notification") ? "bad" : "busy"],
    ["stage_event", isEvent ? "ok" : ""],
    [s.offer.id === "brand" ? "stage_confirmed" : "stage_activated", isMember ? "ok" : isDead ? "bad" : isEvent ? "busy" : ""],
    ["stage_member", isMember ? "ok" : ""],
  ];
  const marks = /** @type {Record<string, string>} */ ({ ok: "✓", bad: "✗", busy: "…" });
  $("stages").setAttribute("aria-label", say("stages"));
  $("stages").replaceChildren(...stages.map(([word, state]) => h("li", { class: state }, h("span", { class: "dot", "aria-hidden": "true" }, marks[state]), say(word))));
}

/**
 * @param {Story} s
 * @returns {[text: string, kind: string]}
 */
function judge(s) {
  const received = s.steps.filter(({ what, kind, status }) => what === "notification" && status === 204 && kind !== "forgery" && kind !== "probe");
  const names = new Set(received.map(({ name }) => name));
  if (s.failed) return [say("storyFailed", { message: s.failed }), "bad"];
  const n = received.length - names.size + 1; // a merchant card has two notifications
  if (s.state === "EFFECTIVE") return [[say("verdictMember"), n > 1 && say("verdictAgain", { n })].filter(Boolean).join(words === zh ? "" : " "), "ok"];
  if (s.trouble === "forged" && has(s, "notification")) return [say("verdictForged"), "ok"];
  if (has(s, "dead_letter")) return [say("verdictDead"), "bad"];
  return [say(s.jump && has(s, "event") ? "verdictJump" : "verdictWaiting"), ""];
}

/**
 * @param {Story} s
 * @param {Step} step
 * @param {boolean} isRepeated a confirmation after the one that took effect
 */
function showStep(s, step, isRepeated) {
  const since = Date.parse(step.time) - Date.parse(s.steps[0]?.time ?? step.time);
  const [state, title, ...says] = describe(s, step, isRepeated);
  const clock = new Date(step.time).toLocaleTimeString(words === zh ? "zh-CN" : "en-GB", { hour12: false, hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 });
  return h(
    "li",
    { class: state, "data-what": step.what },
    h("p", { class: "when" }, h("time", { datetime: step.time }, clock), h("span", null, since < 1000 ? `+${since} ms` : `+${(since / 1000).toFixed(1)} ${say("seconds")}`)),
    h(
      "div",
      null,
      h("p", { class: "what" }, title),
      step.what !== "call" && step.name && step.name !== title && h("p", { class: "uri" }, step.what === "notification" ? h("b", null, "POST ") : null, step.what === "notification" ? "/wechatpay/notifications" : null, step.what === "notification" ? " · " : null, step.name),
      step.what === "call" && h("p", { class: "uri" }, h("b", null, step.name?.split(" ")[0]), " ", step.name?.split(" ")[1], step.status ? ` · HTTP ${step.status}` : ""),
      ...says.map((text) => h("p", { class: "note" }, text)),
      step.header && h("details", null, h("summary", null, say("headers")), h("dl", { class: "proof" }, ...Object.entries(step.header).flatMap(([name, value]) => [h("dt", null, name), h("dd", null, value || "—")]))),
      step.content && h("details", null, h("summary", null, say(isQuery(step) ? "answered" : "decrypted")), h("pre", null, ...colour(step.content))),
    ),
  );
}

/**
 * How a step went, its title, and what more is to be said.
 * @param {Story} s
 * @param {Step} step
 * @param {boolean} isRepeated
 * @returns {[state: string, title: string, ...says: string[]]}
 */
function describe(s, step, isRepeated) {
  const { what, status = 0, name = "" } = step;
  switch (what) {
    case "opened":
      return s.trouble === "forged" ? ["", say("s_opened_forged")] : ["ok", say("s_opened")];
    case "notification": {
      const title = step.kind === "regular" ? say("s_notification", { n: step.number ?? 1 }) : say(/** @type {Word} */ (`s_notification_${step.kind}`));
      if (status === 204) return [step.lost ? "bad" : "ok", title, say("s_accepted", { status }), ...(step.lost ? [say("s_lost")] : [])];
      if (status === 401) return [step.kind === "regular" ? "bad" : "ok", title, say("s_rejected", { status })];
      return ["bad", title, status ? say("s_failed", { status }) : say("s_noAnswer")];
    }
    case "event":
      return ["ok", say("s_event"), say(name.endsWith(".USER_CARD.CREATE") ? "s_event_queue" : "s_event_bus")];
    case "waiting":
      return ["bad", say("s_waiting", { n: step.number ?? 1, time: new Date(step.next ?? step.time).toLocaleTimeString(words === zh ? "zh-CN" : "en-GB") })];
    case "dead_letter":
      return ["bad", say("s_dead_letter", { code: name }), say("s_dead_letter_says")];
    case "member":
      return ["ok", say("s_member")];
  }
  const refusal = step.refusal ? [`${say("refusal")}: ${step.refusal}`] : [];
  const state = status >= 200 && status < 300 || isRepeated ? "ok" : "bad";
  if (isQuery(step)) return [state, say("s_query"), ...refusal];
  if (name.includes("/user-cards/")) return [state, say(isRepeated ? "s_confirmAgain" : "s_confirm"), ...refusal];
  /** @type {[string, Word][]} */
  const ours = [["/decrypt-code", "s_decryptCode"], ["/{activate_ticket}", "s_information"], ["/activate", "s_activate"], ["/confirm", "s_register"]];
  const word = ours.find(([end]) => name.endsWith(end))?.[1];
  return [state, word ? say(word) : name, ...refusal];
}

function showJump() {
  const s = story;
  const jump = s?.jump;
  $("jump").hidden = !jump;
  if (!s || !jump) return;
  const to = jump.appid ? `${jump.appid} ${jump.path ?? ""}` : (jump.url ?? "").split("?")[0];
  $("jump").replaceChildren(
    ...[
      h("h3", null, say("jumpTitle")),
      h("p", { class: "note" }, say("jumpSays")),
      h("dl", { class: "proof" }, ...Object.entries({ [say("jumpTo")]: to, ...parameters(jump) }).flatMap(([name, value]) => [h("dt", null, name), h("dd", null, value || "—")])),
      s.read && h("div", { id: "form-data" }, h("p", { class: "what" }, say("jumpForm")), h("pre", null, ...colour({ code: s.read.card.code, ...s.read.form }))),
      s.activationFailed && h("p", { class: "note bad-text", role: "alert" }, say("jumpFailed", { message: s.activationFailed })),
      !s.activated && (s.read ? h("button", { type: "button", class: "go", click: () => activate(s) }, say("jumpActivate")) : h("button", { type: "button", class: "go", click: () => read(s) }, say("jumpRead"))),
    ].filter((part) => part instanceof Node),
  );
}

$("open-card").addEventListener("click", open);
