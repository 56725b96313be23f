// A campaign of the card plan switches the service modules of a card: the page of
// `go run ./local` has a clock for it, and invokes the function that does it. A shop needs
// nothing of this.

import { $, colour, h, replace } from "./dom.js";
import { post } from "./story.js";
import { say } from "./words.js";

/**
 * @typedef {import("./words.js").Word} Word
 * @typedef {"before" | "within" | "after"} Phase
 * @typedef {{ appid: string, path: string }} Module
 * @typedef {{ name?: string, from?: string, until?: string, service_modules?: Record<string, Module | null> }} Campaign
 * @typedef {{ card_id: string, campaigns: Campaign[] }} Card
 * @typedef {{ method: string, uri: string, status: number, body?: string, refusal?: string }} Request
 * @typedef {{ status: "updated" | "unchanged" | "failed" | "deferred", changed?: string[], error?: { code: string, message: string } }} Reported
 * @typedef {{ cards?: Reported[], error?: { code: string, message: string } }} Report
 */

/**
 * @typedef {object} Run one invocation of the function
 * @property {number} time where the clock was
 * @property {object} event
 * @property {Report} report
 * @property {Request[]} requests what WeChat Pay received meanwhile
 */

const hour = 3_600_000;
const steps = 144; // of the clock, of which half are the campaign's

/** @type {Card | undefined} */
let card;
/** @type {Campaign} the one that the clock is about */
let campaign;
let begin = 0; // of the time line
let end = 0;
let clock = 0; // one of the steps
/** @type {Record<string, Module>} */
let entries = {};
/** @type {Run[]} the newest first */
let runs = [];
let running = false;

/** @param {number} step */
const timeAt = (step) => begin + ((end - begin) * step) / steps;

/** @param {Campaign} c */
const from = (c) => (c.from ? Date.parse(c.from) : -Infinity);

/** @param {Campaign} c */
const until = (c) => (c.until ? Date.parse(c.until) : Infinity);

/**
 * @param {number} time
 * @returns {Phase}
 */
const phase = (time) => (time < from(campaign) ? "before" : time < until(campaign) ? "within" : "after");

/** Reads the plan of the local stack. The page has this part if a campaign of it has service modules. */
export async function readPlan() {
  try {
    /** @type {{ cards: Card[] }} */
    const { cards } = await post("plan");
    const switching = (/** @type {Campaign} */ c) => Boolean(c.service_modules && (c.from || c.until));
    card = cards.find(({ campaigns }) => campaigns?.some(switching));
    if (!card) return;
    campaign = card.campaigns.filter(switching)[0];
    const known = [from(campaign), until(campaign)].filter(Number.isFinite);
    if (!known.length) throw new Error(`no time: ${JSON.stringify(campaign)}`);
    const length = known.length === 2 ? known[1] - known[0] : 72 * hour;
    begin = known[0] - (campaign.from ? length / 2 : length * 1.5);
    end = begin + 2 * length;
    clock = middle("before") ?? middle("within") ?? 0;
    await readEntries();
  } catch (error) {
    card = undefined; // a plan with faults, which the tool explains
    console.warn(error);
  }
}

async function readEntries() {
  entries = (await post(`service-modules?card_id=${encodeURIComponent(card?.card_id ?? "")}`)) ?? {};
}

/**
 * The step in the middle of a phase, if the time line has it.
 * @param {Phase} wanted
 */
function middle(wanted) {
  const those = Array.from({ length: steps + 1 }, (_, step) => step).filter((step) => phase(timeAt(step)) === wanted);
  return those.length ? those[those.length >> 1] : undefined;
}

/**
 * A time as the plan writes it, with the offset of its campaign.
 * @param {number} time
 */
function written(time) {
  const [, sign, hours, minutes] = /([+-])(\d\d):(\d\d)$/.exec(campaign.from ?? campaign.until ?? "") ?? ["", "+", "00", "00"];
  const offset = (sign === "-" ? -1 : 1) * (Number(hours) * hour + Number(minutes) * 60_000);
  return `${new Date(time + offset).toISOString().slice(0, 16).replace("T", " ")} ${sign}${hours}:${minutes}`;
}

/**
 * Invokes the function as it would be invoked when the clock shows this time. The function
 * knows the real time only, so the times of the plan are moved by as much.
 */
async function run() {
  if (!card || running) return;
  running = true;
  showButton();
  /** @type {Run} */
  const r = { time: timeAt(clock), event: {}, report: {}, requests: [] };
  try {
    const { n } = await post(`received?after=${Number.MAX_SAFE_INTEGER}`);
    r.event = { action: "sync", plan: { cards: [moved(card, Math.floor(n / 1000) - r.time)] } };
    r.report = await post("sync", r.event);
    /** @type {{ requests: Request[] }} */
    const { requests } = await post(`received?after=${n}`);
    r.requests = requests.filter(({ uri }) => uri.includes(`/${card?.card_id}/service-modules`));
    await readEntries();
  } catch (error) {
    r.report = { error: { code: "", message: /** @type {Error} */ (error).message } };
  }
  runs.unshift(r);
  running = false;
  showEntries();
  showButton();
  $("runs").prepend(showRun(r));
}

/**
 * A card with the times of its campaigns moved. What is no time is left to the function.
 * @param {Card} planned
 * @param {number} by milliseconds
 */
function moved(planned, by) {
  const move = (/** @type {string} */ at = "") => (Date.parse(at) ? new Date(Date.parse(at) + by).toISOString() : at || undefined);
  return { ...planned, campaigns: planned.campaigns.map((c) => ({ ...c, from: move(c.from), until: move(c.until) })) };
}

// Showing it.

/** Shows all of it anew. */
export function showCampaign() {
  $("campaign").hidden = !card;
  if (!card) return;
  $("campaign-card").textContent = card.card_id;
  const position = (/** @type {number} */ time) => `${Math.min(Math.max(((time - begin) / (end - begin)) * 100, 0), 100)}%`;
  $("line").replaceChildren(
    ...card.campaigns.filter((c) => c.service_modules).map((c) => {
      const bar = h("i", null);
      bar.style.left = position(from(c));
      bar.style.right = `calc(100% - ${position(until(c))})`;
      const times = [from(c), until(c)].map((time) => (Number.isFinite(time) ? h("time", { datetime: new Date(time).toISOString() }, written(time)) : "…"));
      return h("li", null, h("p", null, h("b", null, c.name || say("campaign")), " ", times[0], " – ", times[1]), h("p", { class: "track", "aria-hidden": "true" }, bar, h("b", null)));
    }),
  );
  const input = /** @type {HTMLInputElement} */ ($("clock"));
  input.max = String(steps);
  /** @type {Phase[]} */
  const phases = ["before", "within", "after"];
  $("phases").setAttribute("aria-label", say("clock"));
  replace($("phases"), ...phases.flatMap((p) => {
    const at = middle(p);
    return at === undefined ? [] : [h("button", { type: "button", class: "quiet", id: `to-${p}`, click: () => turn(at) }, say(`clock_${p}`))];
  }));
  $("runs").replaceChildren(...runs.map(showRun));
  turn(clock);
  showEntries();
  showButton();
}

/** @param {number} step */
function turn(step) {
  clock = step;
  const time = timeAt(step);
  const input = /** @type {HTMLInputElement} */ ($("clock"));
  input.value = String(step);
  input.setAttribute("aria-valuetext", `${written(time)}, ${say(`clock_${phase(time)}`)}`);
  $("clock-shows").textContent = written(time);
  for (const hand of document.querySelectorAll("#line .track b")) /** @type {HTMLElement} */ (hand).style.left = `${(step / steps) * 100}%`;
  for (const button of $("phases").children) button.setAttribute("aria-pressed", String(button.id === `to-${phase(time)}`));
}

function showEntries() {
  const ids = Object.keys(entries).sort();
  $("entries").replaceChildren(
    ...(ids.length ? ids.map((id) => h("li", { "data-module": id }, h("span", null, say("entry", { id })), h("b", null, entries[id].path), h("code", null, entries[id].appid))) : [h("li", null, say("noEntries"))]),
  );
}

function showButton() {
  $("run-sync").setAttribute("aria-disabled", String(running));
  $("run-sync").textContent = say(running ? "syncRuns" : "runSync");
}

/** @param {Run} r */
function showRun({ time, event, report, requests }) {
  const [reported] = report.cards ?? [];
  const error = report.error ?? reported?.error;
  const says = error ? [error.code, error.message].filter(Boolean).join(": ") : say(/** @type {Word} */ (`sync_${reported?.status}`), { changed: reported?.changed?.join(", ") ?? "" });
  return h(
    "li",
    { class: error ? "bad" : "ok" },
    h("p", { class: "when" }, h("time", { datetime: new Date(time).toISOString() }, written(time)), h("span", null, say(`clock_${phase(time)}`))),
    h(
      "div",
      null,
      h("p", { class: "what" }, says),
      requests.length === 0 && h("p", { class: "note" }, say("syncSentNothing")),
      ...requests.flatMap(({ method, uri, status, body, refusal }) => [
        h("p", { class: "uri" }, h("b", null, method), ` ${uri} · ${status ? `HTTP ${status}` : say("unanswered")}`),
        body && h("p", { class: "uri" }, body),
        refusal && h("p", { class: "note" }, `${say("refusal")}: `, h("span", { lang: "zh-CN" }, refusal)),
      ]).filter((part) => part instanceof Node),
      h("details", null, h("summary", null, say("syncEvent")), h("pre", null, ...colour(event))),
    ),
  );
}

$("clock").addEventListener("input", (e) => turn(Number(/** @type {HTMLInputElement} */ (e.target).value)));
$("run-sync").addEventListener("click", run);
