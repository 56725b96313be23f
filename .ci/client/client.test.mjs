// The client's rules. First, how it brings up WeChat's component, with a WeChat browser that is made up
// here: its user agent and the two functions of jweixin that are used.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { afterEach, test } from "node:test";
import {
  Membercard, MembercardError, bearerLogin, fetchTransport, miniProgramLogin, oauthLogin,
  openBrandCard, openMerchantCard, openMerchantCardInMiniProgram, untilMember, wxTransport,
} from "../../clients/js/index.js";
import { words, wordsFor } from "../../clients/js/words.js";

const real = Object.getOwnPropertyDescriptor(globalThis, "navigator");
afterEach(() => {
  Object.defineProperty(globalThis, "navigator", real ?? { value: undefined, configurable: true });
  delete globalThis.wx;
});

/** @returns the calls of wx.invoke */
function browser({ version = "8.0.43.2460", has = true, result = { err_msg: "openBusinessView:ok" } } = {}) {
  const calls = [];
  Object.defineProperty(globalThis, "navigator", { value: { userAgent: `Mozilla/5.0 MicroMessenger/${version}(0x28002b) NetType` }, configurable: true });
  globalThis.wx = {
    checkJsApi: ({ jsApiList, success }) => success({ checkResult: { [jsApiList[0]]: has }, errMsg: "checkJsApi:ok" }),
    invoke: (name, input, done) => (calls.push([name, input]), done(result)),
  };
  return calls;
}

test("a merchant card is opened with its token, URL-encoded", async () => {
  const calls = browser();
  await openMerchantCard("a+b/c=&d");
  assert.deepEqual(calls, [["openBusinessView", { businessType: "wxpaymktMemberOpen", queryString: "permission_token=a%2Bb%2Fc%3D%26d" }]]);
});

test("a brand card is opened with its token and scene", async () => {
  const calls = browser();
  await openBrandCard("a b");
  assert.deepEqual(calls, [["openBusinessView", { businessType: "wxpayCardMember", queryString: "token=a%20b&scene=CARD_MEMBER" }]]);
});

for (const [version, opens] of [["7.0.5", true], ["7.0.4.1000", false], ["7.0.10", true], ["6.9.9", false], ["7", false], ["10.0.0", true]]) {
  test(`WeChat ${version} ${opens ? "opens" : "does not open"} the component`, async () => {
    const calls = browser({ version });
    if (opens) await openBrandCard("t");
    else await assert.rejects(openBrandCard("t"), { code: "WECHAT_TOO_OLD" });
    assert.equal(calls.length, opens ? 1 : 0);
  });
}

test("without the JSAPI nothing is invoked", async () => {
  const calls = browser({ has: false });
  await assert.rejects(openBrandCard("t"), { code: "WECHAT_TOO_OLD" });
  assert.equal(calls.length, 0);
});

test("another browser is told to use WeChat", () => assert.rejects(openBrandCard("t"), { code: "NOT_IN_WECHAT" }));

test("a component that does not come up is an error", async () => {
  browser({ result: { err_msg: "openBusinessView:fail no permission" } });
  await assert.rejects(openBrandCard("t"), { code: "NOT_OPENED", message: "openBusinessView:fail no permission" });
});

test("what the component hands back says nothing", async () => {
  for (const result of [{ err_msg: "openBusinessView:ok", extraData: { errcode: 0 } }, { err_msg: "openBusinessView:cancel" }, { extraData: { errcode: "0" } }, undefined]) {
    browser({ result });
    assert.equal(await openBrandCard("t"), undefined);
  }
});

test("the backend is asked until the user is a member", async () => {
  const answers = [false, new Error("not reached"), true];
  let asked = 0;
  const member = await untilMember(async () => {
    const answer = answers[asked++];
    if (answer instanceof Error) throw answer;
    return answer;
  }, 10, 0.01);
  assert.deepEqual([member, asked], [true, 3]);
});

test("a user of whom nothing is known is no member", async () => {
  assert.equal(await untilMember(async () => false, 0.05, 0.01), false);
});

// A mini program brings the components up with its own functions.

for (const [errMsg, ends] of [["", "well"], ["navigateToMiniProgram:fail cancel", "well"], ["openBusinessView:fail no permission", "NOT_OPENED"]]) {
  test(`a component of a mini program that ends with "${errMsg}" ends ${ends}`, async () => {
    const calls = [];
    const component = (input) => (calls.push(input), errMsg ? input.fail({ errMsg }) : input.success());
    globalThis.wx = { getAccountInfoSync() {}, openBusinessView: component, navigateToMiniProgram: component };
    const opened = [openBrandCard("a b"), openMerchantCardInMiniProgram({ create_card_appid: "wx1", card_id: "p", outer_str: "s" })];
    for (const one of opened) await (ends === "well" ? one : assert.rejects(one, { code: ends }));
    assert.equal(calls[0].queryString, "token=a%20b&scene=CARD_MEMBER");
    assert.equal(calls[1].extraData.card_id, "p");
  });
}

test("a mini program in an old WeChat is told so", async () => {
  globalThis.wx = { getAccountInfoSync() {} };
  await assert.rejects(openBrandCard("t"), { code: "WECHAT_TOO_OLD" });
});

// What an API answers, and what the client makes of it. An answer is [status, body, Retry-After].

const token = (seconds) => ({ token: "t", expire_time: new Date(Date.now() + seconds * 1000).toISOString() });
const brand = { brand_id: "1004", card_id: "p" };

/** A login whose header is another one each time. */
function logins() {
  let n = 1;
  return { header: async () => `Bearer ${n}`, forget: () => void n++ };
}

function client(answers, options = {}) {
  const sent = [];
  const transport = async (request) => {
    sent.push(request);
    const [status, body, retryAfter] = answers[Math.min(sent.length, answers.length) - 1];
    if (!status) throw new TypeError("Failed to fetch");
    return { status, body, retryAfter };
  };
  return { sent, membercard: new Membercard({ api: "https://api.example.com/", transport, ...options }) };
}

test("a card's ID is one segment of the path", async () => {
  const { sent, membercard } = client([[200, { permission_token: "t" }]]);
  await membercard.merchantToken("p/1?", { activate_type: "AUTO_ACTIVATE" });
  assert.equal(sent[0].url, "https://api.example.com/v3/marketing/membercard-open/cards/p%2F1%3F/permission-tokens");
});

for (const [what, answers, calls, code, login] of [
  ["a token", [[200, token(3600)]], 1],
  ["a 429 with Retry-After is waited for", [[429, { code: "FREQUENCY_LIMITED" }, "0.01"], [200, token(3600)]], 2],
  ["after the third 429 the page is told", [[429, { code: "FREQUENCY_LIMITED" }, "0.01"]], 3, "FREQUENCY_LIMITED"],
  ["a longer Retry-After is for the page", [[429, { code: "WECHAT_45009" }, "3600"]], 1, "WECHAT_45009"],
  ["a refused request is not repeated", [[400, { code: "PARAM_ERROR", message: "m", detail: { field: "/body/brand_id", issue: "i" }, solution: "s", request_id: "r" }]], 1,
    { code: "PARAM_ERROR", status: 400, message: "m", field: "/body/brand_id", solution: "s", requestId: "r" }],
  ["a refused login is renewed once", [[403, { message: "Forbidden" }], [200, token(3600)]], 2, undefined, logins()],
  ["a login that stays refused is an error", [[401, { message: "Unauthorized" }]], 2, "HTTP_401", logins()],
  ["a login that brings the same again is not tried again", [[401, { message: "Unauthorized" }]], 1, "HTTP_401", bearerLogin(() => "jwt")],
  ["without a login there is nothing new to try", [[403, { message: "Forbidden" }]], 1, "HTTP_403"],
  ["a 403 of the API is no matter of the login", [[403, { code: "JUMP_NOT_ALLOWED" }]], 1, "JUMP_NOT_ALLOWED", logins()],
  ["no network", [[0]], 1, "NOT_ANSWERED"],
  ["an answer that is no JSON", [[502, undefined]], 1, "HTTP_502"],
]) {
  test(what, async () => {
    const { sent, membercard } = client(answers, { login });
    const asked = membercard.brandToken(brand);
    if (code) await assert.rejects(asked, { name: "MembercardError", ...(code.code ? code : { code }) });
    else assert.equal((await asked).token, "t");
    assert.equal(sent.length, calls);
    assert.equal(sent[0].url, "https://api.example.com/v3/brand/partner/card-member/pre-auth-tokens");
  });
}

for (const [what, lives, asked, calls] of [
  ["a brand token is kept", 3600, [brand, brand], 1],
  ["one that ends within a minute is not", 59, [brand, brand], 2],
  ["another card has another token", 3600, [brand, { ...brand, card_id: "q" }], 2],
]) {
  test(what, async () => {
    const { sent, membercard } = client([[200, token(lives)]]);
    for (const body of asked) await membercard.brandToken(body);
    assert.equal(sent.length, calls);
  });
}

test("two calls at once share one request, and a token that was refused is forgotten", async () => {
  const { sent, membercard } = client([[200, token(3600)]]);
  await Promise.all([membercard.brandToken(brand), membercard.brandToken(brand)]);
  assert.equal(sent.length, 1);
  membercard.forgetBrandToken(brand);
  await membercard.brandToken(brand);
  assert.equal(sent.length, 2);
});

// Where the header comes from.

test("wx.login's code is sent for the whole visit, and a new one after a refusal", async () => {
  let codes = 0;
  const login = miniProgramLogin(({ success }) => success({ code: `code${++codes}` }));
  const { sent, membercard } = client([[200, {}], [200, {}], [403, {}], [200, {}]], { login });
  for (let i = 0; i < 3; i++) await membercard.cardExt([]);
  assert.deepEqual(sent.map(({ headers }) => headers.Authorization), ["code1", "code1", "code1", "code2"].map((code) => `WeChat-MiniProgram ${code}`));
});

test("a login that fails can be tried again", async () => {
  let fails = true;
  const login = miniProgramLogin(({ success, fail }) => (fails ? fail({ errMsg: "login:fail" }) : success({ code: "c" })));
  const { membercard } = client([[200, {}]], { login });
  await assert.rejects(membercard.cardExt([]), { code: "NOT_LOGGED_IN" });
  fails = false;
  await membercard.cardExt([]);
});

test("a token of the shop's own is asked for anew after a refusal", async () => {
  const asked = [];
  const { membercard } = client([[401, {}], [200, {}]], { login: bearerLogin((again) => (asked.push(again), again ? "new" : "old")) });
  await membercard.cardExt([]);
  assert.deepEqual(asked, [false, true]);
});

for (const [what, search, kept, header, leaves] of [
  ["the first visit leaves for WeChat's login", "", {}, undefined, true],
  ["the way back brings a code", "?code=c&state=s&from=menu", { "membercard-state": "s" }, "WeChat-OAuth c", false],
  ["a code that this tab did not ask for is a stranger's", "?code=c&state=other", { "membercard-state": "s" }, undefined, true],
  ["a code without a question is one too", "?code=c&state=", {}, undefined, true],
  ["the header is kept for the visit", "", { "membercard-login": "WeChat-OAuth c" }, "WeChat-OAuth c", false],
]) {
  test(what, async (t) => {
    const store = new Map(Object.entries(kept));
    const addresses = [];
    const fakes = {
      location: { origin: "https://shop.example.com", pathname: "/card", search, hash: "#join", href: "" },
      history: { replaceState: (_, __, address) => addresses.push(address) },
    };
    for (const [name, value] of Object.entries(fakes)) Object.defineProperty(globalThis, name, { value, configurable: true });
    t.after(() => Object.keys(fakes).forEach((name) => delete globalThis[name]));
    const login = oauthLogin({ appid: "wx1", store: { getItem: (k) => store.get(k) ?? null, setItem: (k, v) => store.set(k, v), removeItem: (k) => store.delete(k) } });
    if (header) assert.equal(await login.header(), header);
    else await assert.rejects(login.header(), { code: "LOGGING_IN" });
    const left = new URL(fakes.location.href || "https://none.example.com");
    assert.equal(left.host === "open.weixin.qq.com", leaves);
    if (leaves) assert.equal(left.searchParams.get("state"), store.get("membercard-state"));
    if (search) assert.equal(addresses[0], search.includes("from=menu") ? "/card?from=menu#join" : "/card#join");
  });
}

// Transports.

test("fetch and wx.request carry the same", async () => {
  const got = [];
  const viaFetch = fetchTransport(async (url, { method, headers, body }) => (got.push([url, method, headers, body]), new Response('{"a":1}', { status: 429, headers: { "Retry-After": "7" } })));
  const viaWx = wxTransport(({ url, method, header, data, success }) => (got.push([url, method, header, data]), success({ statusCode: 429, data: { a: 1 }, header: { "retry-after": 7 } })));
  const request = { url: "https://api.example.com/x", method: "POST", headers: { A: "b" }, body: "{}" };
  assert.deepEqual(await viaFetch(request), { status: 429, body: { a: 1 }, retryAfter: "7" });
  assert.deepEqual(await viaWx(request), { status: 429, body: { a: 1 }, retryAfter: "7" });
  assert.deepEqual(got[0], got[1]);
});

// Words.

test("every code that openapi.yaml shows to a caller has words in both languages", async () => {
  const text = await readFile(new URL("../../openapi.yaml", import.meta.url), "utf8");
  const codes = new Set([...text.matchAll(/\bcode: ["']?([A-Z][A-Z_0-9]+)\b/g)].map(([, code]) => code).filter((code) => code !== "FAIL" && code !== "SUCCESS")); // for WeChat
  assert.ok(codes.size > 8, [...codes].join());
  assert.deepEqual([...codes].filter((code) => !words[code]), []);
  for (const [code, [zh, en]] of Object.entries(words)) {
    assert.match(zh, /^[^a-z]+$/, code);
    assert.match(en, /^[ -~]+$/, code);
  }
});

test("a code that nobody knows has the words of its status", () => {
  assert.match(wordsFor("ODD", 500, "zh-CN"), /稍后再试/);
  assert.match(wordsFor("ODD", 400, "en-GB"), /not accepted/);
  assert.equal(new MembercardError(404, { code: "ODD" }).words("en"), wordsFor("ODD", 404, "en"));
});
