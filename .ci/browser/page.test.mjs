// The sample page in Chromium, against the local stack with -auth wechat.

import assert from "node:assert/strict";
import http from "node:http";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { chromium } from "playwright-core";

const { API_URL: api, PAGE_URL: page, ARTIFACTS: artifacts } = process.env;
const flags = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync";

/** @type {import("playwright-core").Browser} */
let browser;
/** @type {import("playwright-core").Page} */
let tab;
let faults = []; // what the page itself did wrong
let foreign = []; // requests to elsewhere

before(async () => {
  browser = await chromium.launch({ executablePath: "/usr/bin/chromium", headless: true, args: flags.split(" ") });
});
after(() => browser?.close());

/** Opens the page, with a script that runs before the page's own. */
async function open(options = {}, hash = "", script = undefined) {
  await tab?.context().close();
  const context = await browser.newContext({ locale: "zh-CN", viewport: { width: 1280, height: 1000 }, ...options });
  if (script) await context.addInitScript(script);
  tab = await context.newPage();
  tab.setDefaultTimeout(30_000);
  tab.on("pageerror", (error) => faults.push(error.message));
  tab.on("console", (message) => /Content Security Policy/.test(message.text()) && faults.push(message.text()));
  tab.on("request", (request) => {
    const { origin, protocol } = new URL(request.url());
    if (protocol !== "data:" && origin !== new URL(page).origin && origin !== new URL(api).origin) foreign.push(request.url());
  });
  await tab.goto(`${page}/${hash}`);
  await tab.locator("form .go").waitFor();
}

beforeEach(() => open());
afterEach(async () => {
  await wechat("heal");
  assert.deepEqual([faults, foreign], [[], []], "errors of the page, requests to elsewhere");
});

/** Bends WeChat Pay's answers. */
async function wechat(fault) {
  const response = await fetch(`${page}/break`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ fault }) });
  assert.equal(response.status, 200);
}

/** Sends the form and waits for its end. */
async function send() {
  await tab.locator("form .go").click();
  await tab.locator("#result[aria-busy=false] #status").waitFor();
  return tab.locator("#status strong").innerText();
}

const text = (selector) => tab.locator(selector).innerText();
const shoot = (name) => tab.screenshot({ path: `${artifacts}/page-${name}.png`, fullPage: true });
const noScrolling = async () => {
  const [content, window] = await tab.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(content <= window, `${content} px of content in a window of ${window}`);
};

test("every form succeeds, and WeChat verified the signature", async (t) => {
  for (const [hash, name, answers, handsOver] of [
    ["#merchant", "", "permission_token", "wxpaymktMemberOpen"],
    ["#brand", "pre-auth-tokens", "expire_time", "wxpayCardMember"],
    ["#brand", "open-user-card-tokens", "expire_time", "wxpayCardMember"],
    ["#ext", "", "cardExt", "wx.addCard"],
    ["#update", "", "send_check", ""],
  ]) {
    await t.test(`${hash} ${name}`, async () => {
      await open({}, hash);
      if (name) await tab.locator("#f-path").selectOption(name);
      assert.equal(await send(), "200");
      assert.match(await text("#answer"), new RegExp(answers));
      assert.match(await text(".took"), /\d+ ms|\d s/);
      if (handsOver) assert.match(await text("#hand-over"), new RegExp(handsOver.replace(".", "\\.")));
      const received = await text("#received");
      if (hash === "#merchant" || hash === "#brand") {
        for (const part of ["mchid", "serial_no", "nonce_str", "timestamp", "signature", "验签通过", "POST /v3/", name]) {
          assert.ok(received.includes(part), `${part} in ${received}`);
        }
      }
      if (hash === "#update") assert.match(received, /POST \/card\/update[\s\S]*access_token\s*有效/);
      await shoot(`success${hash.replace("#", "-")}${name && `-${name}`}`);
    });
  }
});

test("the page calls the API across origins, after a preflight", async () => {
  assert.notEqual(new URL(page).origin, new URL(api).origin);
  const session = await tab.context().newCDPSession(tab);
  const preflights = [];
  session.on("Network.requestWillBeSent", ({ request }) => request.method === "OPTIONS" && preflights.push(request.url));
  await session.send("Network.enable");
  assert.equal(await send(), "200");
  assert.ok(preflights.some((url) => url.startsWith(api)), `preflights: ${JSON.stringify(preflights)}`);

  const { headers } = await preflight(new URL(page).origin);
  assert.equal(headers["access-control-allow-origin"], new URL(page).origin);
  assert.match(headers["access-control-allow-headers"], /authorization/i);
  assert.match(headers["access-control-allow-methods"], /POST|\*/);
});

/** Asks the API as a browser does for a page of an origin. */
const preflight = (origin) =>
  new Promise((resolve, reject) => {
    const headers = { Origin: origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type" };
    http.request(`${api}/card/ext`, { method: "OPTIONS", headers }, (response) => resolve(response.resume())).on("error", reject).end();
  });

test("a page of another origin is refused", async () => {
  const server = http.createServer((_, response) => response.setHeader("Content-Type", "text/html").end("<!doctype html><title>elsewhere</title>"));
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  const elsewhere = `http://127.0.0.1:${server.address().port}`;
  try {
    const other = await tab.context().newPage();
    await other.goto(elsewhere);
    const call = (url, type) =>
      other.evaluate(([url, type]) => fetch(url, { method: "POST", headers: { "Content-Type": type }, body: "{}" }).then((r) => `answered ${r.status}`, (e) => e.name), [url, type]);
    assert.equal(await call(`${api}/card/ext`, "application/json"), "TypeError"); // stopped at the preflight
    assert.equal(await call(`${api}/card/ext`, "text/plain"), "TypeError"); // needs none, and the answer is withheld
    assert.equal(await call(`${page}/break`, "text/plain"), "TypeError");
    assert.equal((await preflight(elsewhere)).headers["access-control-allow-origin"], undefined);
  } finally {
    server.close();
  }
});

test("a login is used again, and another one can be had", async () => {
  const codes = [];
  tab.on("request", (request) => request.url().startsWith(api) && request.method() === "POST" && codes.push(request.headers().authorization));
  await send();
  assert.match(await text("#login-note"), /OAuth/);
  await send();
  assert.match(await text("#login-note"), /沿用/);
  await tab.locator("#log-in").click();
  await tab.locator("#login-note", { hasText: "新 code" }).waitFor();
  assert.equal(await send(), "200");
  assert.equal(codes.length, 3);
  assert.match(codes[0], /^WeChat-OAuth \S+$/);
  assert.equal(codes[1], codes[0]);
  assert.notEqual(codes[2], codes[0]);
});

test("a brand token is kept until shortly before it expires", async () => {
  await open({}, "#brand");
  let calls = 0;
  tab.on("request", (request) => request.url().startsWith(api) && request.method() === "POST" && calls++);
  await send();
  const answer = await text("#answer pre");
  assert.equal(await send(), "✓");
  assert.equal(await text("#answer pre"), answer);
  assert.equal(calls, 1);
  await tab.getByRole("button", { name: "丢弃并重新获取" }).click();
  await tab.locator("#result[aria-busy=false] #status", { hasText: "200" }).waitFor();
  assert.equal(calls, 2);

  await tab.evaluate(() => {
    const key = Object.keys(sessionStorage).find((name) => name.startsWith("membercard:"));
    const kept = JSON.parse(sessionStorage.getItem(key));
    sessionStorage.setItem(key, JSON.stringify({ ...kept, expire_time: new Date(Date.now() + 59_000).toISOString() }));
  });
  assert.equal(await send(), "200");
  assert.equal(calls, 3);
});

test("a rate limit is waited for as Retry-After says", async () => {
  await open({}, "#brand");
  let calls = 0;
  await tab.route(`${api}/**`, async (route) => {
    if (route.request().method() !== "POST" || ++calls > 1) return route.fallback();
    const headers = { "Access-Control-Allow-Origin": new URL(page).origin, "Access-Control-Expose-Headers": "Retry-After", "Retry-After": "1", "Content-Type": "application/json" };
    await route.fulfill({ status: 429, headers, body: '{"code":"FREQUENCY_LIMITED","message":"请求频率超过限制"}' });
  });
  const began = Date.now();
  assert.equal(await send(), "200");
  assert.equal(calls, 2);
  assert.ok(Date.now() - began >= 1000, "sent again before Retry-After");
  assert.match(await text("#result"), /限频 1 次/);
});

test("API Gateway's own limit has no Retry-After, so the pauses grow", async () => {
  await open({}, "#brand");
  const calls = [];
  await tab.route(`${api}/**`, async (route) => {
    if (route.request().method() !== "POST" || calls.push(Date.now()) > 2) return route.fallback();
    const headers = { "Access-Control-Allow-Origin": new URL(page).origin, "Content-Type": "application/json" };
    await route.fulfill({ status: 429, headers, body: '{"message":"Too Many Requests"}' });
  });
  assert.equal(await send(), "200");
  assert.equal(calls.length, 3);
  assert.ok(calls[1] - calls[0] >= 1000, "sent again within a second");
  assert.ok(calls[2] - calls[1] >= 2000, "the second pause is no longer than the first");
});

test("an error that membercard finds is told in words, at its field", async () => {
  await tab.getByRole("button", { name: "违反规则" }).click();
  assert.equal(await send(), "400");
  const fault = await text("#fault");
  for (const part of ["有一个参数不合规则", "PARAM_ERROR", "/body/activate_url", "is required with JUMP_ACTIVATE", "未请求微信"]) assert.ok(fault.includes(part), `${part} in ${fault}`);
  assert.match(await text("#f-activate_url-issue"), /JUMP_ACTIVATE/);
  assert.equal(await tab.locator("#f-activate_url").getAttribute("aria-invalid"), "true");
  await shoot("error-rule");
});

test("an error that WeChat finds is told in words", async () => {
  await tab.getByRole("button", { name: "没有权限" }).click();
  assert.equal(await send(), "403");
  const fault = await text("#fault");
  for (const part of ["商户还没有开通这个功能", "NO_AUTH", "商户暂无权限使用此功能", "商家暂未开通此功能", "Request-ID"]) assert.ok(fault.includes(part), `${part} in ${fault}`);
});

test("someone else's openid is refused", async () => {
  await open({}, "#brand");
  await tab.getByRole("button", { name: "别人的 openid" }).click();
  assert.equal(await send(), "403");
  assert.match(await text("#fault"), /不是登录用户本人[\s\S]*OPENID_MISMATCH/);
});

test("WeChat's failures are told in words", async (t) => {
  for (const [label, form, status, words, attempts] of [ // each form's function has retries of its own
    ["系统异常", "", "502", /微信系统异常[\s\S]*SYSTEM_ERROR/, 4],
    ["签名不对", "", "502", /应答不可信[\s\S]*INVALID_RESPONSE/, 1],
    ["不应答", "#brand", "504", /没有及时应答[\s\S]*UPSTREAM_TIMEOUT/, 2],
  ]) {
    await t.test(label, async () => {
      await open({}, form);
      await tab.locator("#faults").getByText(label).click();
      await tab.locator("#fault-note", { hasNotText: "沙箱按文档应答" }).waitFor();
      assert.equal(await send(), status);
      assert.match(await text("#fault"), words);
      const received = await tab.locator("#received .seen", { hasText: "微信支付" }).count();
      assert.ok(received >= attempts, `${received} attempts`);
      if (attempts > 1) assert.match(await text("#received"), /备域名/);
      await shoot(`failure-${status}-${attempts}`);
      await tab.locator("#faults").getByText("正常").click();
      await tab.locator("#fault-note", { hasText: "沙箱按文档应答" }).waitFor();
      assert.equal(await send(), "200");
    });
  }
});

test("an API that can't be reached is told in words", async (t) => {
  for (const [name, urls] of [["the API", `${api}/**`], ["the login", "**/login"], ["the whole stack", "**/*"]]) {
    await t.test(name, async () => {
      await open();
      await tab.route(urls, (route) => route.abort());
      assert.equal(await send(), "—");
      assert.match(await text("#fault"), /网页连不上接口[\s\S]*NOT_ANSWERED/);
    });
  }
});

test("the page speaks Chinese and English, by the browser's language at first", async () => {
  assert.match(await text("h1"), /凭据不出云/);
  assert.equal(await tab.locator("html").getAttribute("lang"), "zh-CN");
  await tab.getByRole("button", { name: "English" }).click();
  assert.match(await text("h1"), /keys stay in the cloud/);
  assert.equal(await tab.locator("html").getAttribute("lang"), "en");
  await tab.reload();
  await tab.locator("h1", { hasText: "keys stay in the cloud" }).waitFor(); // it is remembered
  await open({ locale: "en-US" });
  assert.match(await text("h1"), /keys stay in the cloud/);
  await send();
  const body = (await text("body")).replaceAll("中文", "").replaceAll("卡\nmembercard", "membercard");
  assert.doesNotMatch(body, /\p{Script=Han}/u, "Chinese on the English page");
  await tab.getByRole("button", { name: "中文" }).click();
  assert.match(await text("#received"), /验签通过/);
});

test("nothing scrolls sideways at 360 px, in both languages and schemes", async (t) => {
  for (const locale of ["zh-CN", "en-US"]) {
    for (const colorScheme of ["light", "dark"]) {
      for (const hash of ["#merchant", "#brand", "#ext", "#update"]) {
        await t.test(`${locale} ${colorScheme} ${hash}`, async () => {
          await open({ locale, colorScheme, viewport: { width: 360, height: 780 } }, hash);
          await noScrolling();
          assert.equal(await send(), "200");
          await noScrolling();
          await shoot(`360-${locale}-${colorScheme}${hash.replace("#", "-")}`);
        });
      }
    }
  }
});

test("a request leads to its result, or to the field at fault", async () => {
  await open({ viewport: { width: 1280, height: 900 } }, "#update");
  await tab.locator("form .go").scrollIntoViewIfNeeded();
  await send();
  const focused = () => tab.evaluate(() => document.activeElement.id);
  assert.equal(await focused(), "result");
  const { y } = await tab.locator("#status").boundingBox();
  assert.ok(y >= 0 && y < 900, `the result is at ${y} px`);
  await tab.locator("#tab-merchant").click();
  assert.equal(await tab.locator("#status").count(), 0, "the other tab's result");
  await tab.getByRole("button", { name: "违反规则" }).click();
  await send();
  assert.equal(await focused(), "f-activate_url");
});

test("the focus stays on the button while its request is under way, which is not sent twice", async () => {
  await open({}, "#update");
  let calls = 0;
  let answer;
  const held = new Promise((resolve) => (answer = resolve));
  await tab.route("**/card/update", async (route) => {
    calls++;
    await held;
    await route.fallback();
  });
  await tab.locator("#send").focus();
  await tab.keyboard.press("Enter");
  await tab.locator("#send[aria-disabled=true]").waitFor();
  assert.equal(await tab.evaluate(() => document.activeElement.id), "send");
  await tab.keyboard.press("Enter");
  answer();
  await tab.locator("#result[aria-busy=false] #status", { hasText: "200" }).waitFor();
  assert.equal(calls, 1);
  // What is shown anew keeps the focus too.
  await tab.getByRole("button", { name: "小程序缺页面" }).press("Enter");
  assert.equal(await tab.evaluate(() => document.activeElement.innerText), "小程序缺页面");
});

test("no label of a form is cut, in both languages", async () => {
  for (const locale of ["zh-CN", "en-US"]) {
    for (const hash of ["#merchant", "#brand", "#ext", "#update"]) {
      await open({ locale }, hash);
      const cut = await tab.locator("form label, form label *").evaluateAll((all) => all.filter((one) => one.scrollWidth > one.clientWidth && one.clientWidth > 0).map((one) => one.innerText));
      assert.deepEqual(cut, [], `${locale} ${hash}`);
    }
  }
});

test("the page is read in the order of the work, and the keyboard goes the same way", async () => {
  const tree = await tab.locator("body").ariaSnapshot();
  let at = -1;
  for (const part of ["link \"跳到表单\"", "heading \"网页开卡", "heading \"接口\"", "group \"模拟微信支付异常\"", "tablist", "tab \"商户 token\" [selected]", "tabpanel \"商户 token\"", "textbox \"会员卡 ID", "button \"获取 permission_token\""]) {
    const next = tree.indexOf(part, at + 1);
    assert.ok(next > at, `${part} is not there, or not after what comes before it, in\n${tree}`);
    at = next;
  }
  const stops = [];
  for (let i = 0; i < 40 && stops.at(-1) !== "send"; i++) {
    await tab.keyboard.press("Tab");
    stops.push(await tab.evaluate(() => document.activeElement.id || document.activeElement.className));
  }
  const order = ["skip", "log-in", "tab-merchant", "f-card_id", "f-outer_str", "send"].map((id) => stops.indexOf(id));
  assert.ok(order.every((n, i) => n >= 0 && (i === 0 || n > order[i - 1])), stops.join());
  await tab.keyboard.press("Enter");
  await tab.locator("#result[aria-busy=false] #status", { hasText: "200" }).waitFor();
});

test("the tabs work with the keyboard", async () => {
  await tab.locator("#tab-merchant").focus();
  await tab.keyboard.press("ArrowRight");
  assert.equal(await tab.evaluate(() => document.activeElement.id), "tab-brand");
  assert.match(await text("form h2"), /入会组件预授权/);
  await tab.locator("#f-brand_id").focus();
  await tab.keyboard.press("Enter");
  await tab.locator("#result[aria-busy=false] #status", { hasText: "200" }).waitFor();
});

test("in WeChat the token goes to the card component", async () => {
  const wechat = () => {
    globalThis.wx = {
      checkJsApi: ({ success }) => success({ checkResult: { openBusinessView: true } }),
      invoke: (name, input, done) => {
        globalThis.handed = { name, input };
        done({ err_msg: "openBusinessView:ok" });
      },
      addCard: (input) => {
        globalThis.handed = { name: "addCard", input };
        input.success({ errMsg: "addCard:ok" });
      },
    };
  };
  const userAgent = "Mozilla/5.0 (iPhone) MicroMessenger/8.0.43";
  await open({ userAgent }, "", wechat);
  await send();
  const { permission_token } = JSON.parse(await text("#answer pre"));
  await tab.locator("#hand-over .go").click();
  assert.deepEqual(await tab.evaluate(() => globalThis.handed), { name: "openBusinessView", input: { businessType: "wxpaymktMemberOpen", queryString: `permission_token=${encodeURIComponent(permission_token)}` } });
  assert.match(await text("#hand-over"), /以微信的通知为准/);

  await tab.goto(`${page}/?again#ext`);
  await send();
  const { cardList } = JSON.parse(await text("#answer pre"));
  await tab.locator("#hand-over .go").click();
  assert.deepEqual((await tab.evaluate(() => globalThis.handed)).input.cardList, cardList);

  await open({ userAgent: userAgent.replace("8.0.43", "7.0.4") }, "#brand", wechat); // too old
  await send();
  await tab.locator("#hand-over .go").click();
  assert.match(await text("#hand-over"), /请升级微信后再试/);
});

// The card's story.

/** Gets a token and has the customer open the card, while something goes wrong. */
async function openCard(trouble = "") {
  assert.match(await send(), /200|✓/);
  await tab.locator("#troubles").getByText(trouble || "一切顺利", { exact: true }).click();
  await tab.locator("#open-card").click();
}

/** Waits for the verdict. */
async function verdict(words) {
  await tab.locator("#verdict", { hasText: words }).waitFor();
  return steps();
}

/** The steps on the page, without their times. */
const steps = () => tab.locator("#steps > li").evaluateAll((items) => items.map((item) => `${item.className} ${item.querySelector("div").innerText.replaceAll("\n", " | ")}`));
const count = (list, words) => list.filter((step) => words.test(step)).length;

test("a brand card goes from its token to a member", async () => {
  await open({}, "#brand");
  assert.equal(await tab.locator("#story").isVisible(), false, "a story before the token");
  await openCard();
  const told = await verdict("会员卡已生效");
  for (const words of [/^ok 用户在微信/, /^ok 微信的通知，第 1 次.*验签通过，已解密.*204/, /^ok 事件总线收下事件.*USER_CARD\.CREATE/, /^ok membercard 向微信确认开卡.*HTTP 200/, /^ok 会员卡已生效/]) {
    assert.equal(count(told, words), 1, `${words} in ${told.join("\n")}`);
  }
  assert.equal(await tab.locator("#stages .ok").count(), 5);
  assert.match(await text("#card-state"), /已生效/);
  assert.equal(await tab.locator("#steps").getAttribute("aria-live"), "polite");
  await tab.locator("#steps summary", { hasText: "请求头" }).first().click();
  assert.match(await text("#steps .proof"), /Wechatpay-Serial[\s\S]*PUB_KEY_ID_[\s\S]*Wechatpay-Signature/);
  await tab.locator("#steps summary", { hasText: "解密后" }).first().click();
  assert.match(await tab.locator("#steps pre").first().innerText(), /13900000000[\s\S]*user_card_code/);
  const queried = tab.locator("#steps > li.ok", { hasText: "查询：用户是不是会员？" });
  await queried.locator("summary").click();
  assert.match(await queried.locator("pre").innerText(), /"user_card_state": "EFFECTIVE"/);
  await shoot("story-brand");
  // Another token is minted for the next card, for this one has been used.
  await tab.locator("#open-card").click();
  await verdict("会员卡已生效");
});

for (const [way, url, says] of [
  ["a page", "", /encrypt_code[\s\S]*activate_ticket/],
  ["a mini program", "wxea9c30a90fs8d3fe", /wxea9c30a90fs8d3fe pages\/activate\/activate[\s\S]*code/],
]) {
  test(`a card of JUMP_ACTIVATE goes from its token over ${way} to a member`, async () => {
    await tab.locator("#f-activate_type").selectOption("JUMP_ACTIVATE");
    await tab.locator("#f-activate_appid").fill(url);
    await openCard();
    await verdict("在等商户");
    assert.match(await text("#jump"), says);
    assert.match(await text("#jump"), /本机扮演的商户后台签名/);
    // With the keyboard: the focus goes to the next button, and at last to the verdict.
    await tab.locator("#jump .go").focus();
    await tab.keyboard.press("Enter");
    await tab.locator("#form-data").waitFor();
    assert.match(await text("#form-data"), /"code": "\d{12}"[\s\S]*张三[\s\S]*咖啡/);
    await tab.locator("#jump .go:focus", { hasText: "登记并激活" }).waitFor();
    await tab.keyboard.press("Enter");
    await verdict("会员卡已生效");
    await tab.locator("#steps > li", { hasText: "MEMBERCARD.ACTIVATE_CARD" }).nth(1).waitFor();
    const told = await steps();
    for (const words of [/^ok 商户后台：读取用户.*HTTP 200/, /^ok 商户后台：激活会员卡.*HTTP 204/, /^ok 商户后台：告知微信登记成功/, /^ok 会员卡已生效/]) {
      assert.equal(count(told, words), 1, `${words} in ${told.join("\n")}`);
    }
    assert.equal(count(told, /解密 code/), url ? 0 : 1);
    await tab.locator("#steps > li.ok", { hasText: "查询：用户是不是会员？" }).waitFor();
    assert.equal(await tab.evaluate(() => document.activeElement.id), "verdict");
    await shoot(`story-jump-${url ? "program" : "page"}`);
  });
}

test("what goes wrong on the way is told, and has the effect that it should", async (t) => {
  for (const [name, trouble, words, wants] of [
    ["lost", "应答丢失", "来了 2 次", [[/第 1 次.*应答在路上丢了/, 1], [/第 2 次.*204/, 1], [/^ok 又确认了一次/, 1], [/^ok 会员卡已生效/, 1]]],
    ["twice", "重复通知", "来了 2 次", [[/^ok 同一个通知又来了一次.*204/, 1], [/^ok 又确认了一次/, 1], [/^ok 会员卡已生效/, 1]]],
    ["probe", "签名探测流量", "会员卡已生效", [[/^ok 微信的探测.*401/, 1], [/^ok 微信的通知.*204/, 1]]],
    ["forged", "伪造通知", "没有任何作用", [[/^ok 伪造的通知.*验签未通过，应答 401/, 1], [/事件总线|确认|会员卡已生效/, 0]]],
    ["refused", "确认被拒", "死信队列", [[/^bad membercard 向微信确认开卡.*HTTP 400.*品牌会员卡模板已失效/, 1], [/^bad 进入死信队列：INVALID_REQUEST/, 1], [/会员卡已生效/, 0]]],
  ]) {
    await t.test(trouble, async () => {
      await open({}, "#brand");
      await openCard(trouble);
      for (const [step, n] of wants) {
        if (n) await until(async () => count(await steps(), step) >= n, `${step}`);
      }
      const told = await verdict(words);
      if (name === "refused") assert.equal(await text("#card-state"), "确认失败，未生效");
      for (const [step, n] of wants) assert.ok(n ? count(told, step) >= n : count(told, step) === 0, `${n} of ${step} in ${told.join("\n")}`);
      await shoot(`story-${name}`);
    });
  }
});

/** Waits until a condition holds. */
async function until(holds, what) {
  for (const end = Date.now() + 30_000; !(await holds()); await new Promise((wake) => setTimeout(wake, 200))) {
    assert.ok(Date.now() < end, `not in 30 s: ${what}; the steps are ${(await steps()).join("\n")}`);
  }
}

test("the story is told in both languages, at 360 px and in the dark too", async (t) => {
  for (const [locale, words] of [["zh-CN", "会员卡已生效"], ["en-US", "The card is EFFECTIVE"]]) {
    for (const colorScheme of ["light", "dark"]) {
      await t.test(`${locale} ${colorScheme}`, async () => {
        await open({ locale, colorScheme, viewport: { width: 360, height: 780 } }, "#merchant");
        await tab.locator("#f-activate_type").selectOption("JUMP_ACTIVATE");
        await tab.locator("#f-activate_appid").fill("");
        await send();
        await tab.locator("#open-card").click();
        await tab.locator("#jump .go").click();
        await tab.locator("#form-data").waitFor();
        await tab.locator("#jump .go").click();
        await verdict(words);
        for (const summary of await tab.locator("#steps summary").all()) await summary.click();
        await noScrolling();
        await shoot(`story-360-${locale}-${colorScheme}`);
        if (locale !== "en-US") return;
        const body = await text("#story");
        assert.doesNotMatch(body.replaceAll(/张三|兴趣|咖啡|电影/g, "").replaceAll(/会员卡\S*通知/g, ""), /\p{Script=Han}/u, "Chinese on the English page");
        await tab.getByRole("button", { name: "中文" }).click();
        assert.match(await text("#verdict"), /会员卡已生效/);
        assert.match(await text("#steps"), /事件总线收下事件/);
      });
    }
  }
});

// The campaign.

test("a campaign switches a card's entries, as the clock is moved", async (t) => {
  const offers = "pages/offers", newYear = "pages/new-year";
  for (const [locale, colorScheme, width, before, within, after, nothing] of [
    ["zh-CN", "light", 1280, "活动之前", "活动期间", "活动之后", "没有向微信发送任何请求。"],
    ["zh-CN", "dark", 360, "活动之前", "活动期间", "活动之后", "没有向微信发送任何请求。"],
    ["en-US", "light", 360, "Before", "Within", "After", "Nothing was sent to WeChat."],
  ]) {
    await t.test(`${locale} ${width} px`, async () => {
      await open({ locale, colorScheme, viewport: { width, height: 780 } });
      const runs = tab.locator("#runs > li");
      const focused = () => tab.evaluate(() => document.activeElement.id);
      /** Has the function run at a step of the clock, and returns what the page says of it. */
      const runAt = async (step, time, phase) => {
        await tab.locator("#clock").fill(String(step));
        assert.equal(await text("#clock-shows"), `${time} +08:00`);
        assert.equal(await tab.locator("#clock").getAttribute("aria-valuetext"), `${time} +08:00, ${phase}`);
        assert.equal(await text("#phases [aria-pressed=true]"), phase);
        const count = await runs.count();
        await tab.locator("#run-sync").press("Enter");
        await runs.nth(count).waitFor();
        assert.equal(await focused(), "run-sync");
        return runs.first().innerText();
      };
      await runAt(0, "2026-12-30 12:00", before); // what the card had is another test's
      for (const [step, time, phase, shown, sent] of [
        [35, "2026-12-31 23:00", before, offers, false],
        [36, "2027-01-01 00:00", within, newYear, true],
        [107, "2027-01-03 23:00", within, newYear, false],
        [108, "2027-01-04 00:00", after, offers, true],
        [108, "2027-01-04 00:00", after, offers, false],
      ]) {
        const said = await runAt(step, time, phase);
        if (sent) assert.match(said, new RegExp(`PATCH /v3/marketing/membercard-open/cards/\\w+/service-modules/666 · HTTP 200\\s+\\{"jump_miniprogram":\\{"appid":"\\w+","path":"${shown}"`));
        assert.equal(said.includes(nothing), !sent, said);
        assert.ok((await text('#entries [data-module="666"]')).includes(shown), `${shown} at ${time}`);
      }
      // The clock has a name, and goes by the keyboard and by the buttons.
      await tab.getByRole("slider", { name: locale === "en-US" ? "Clock" : "时钟" }).press("Home");
      assert.equal(await text("#clock-shows"), "2026-12-30 12:00 +08:00");
      await tab.keyboard.press("ArrowRight");
      assert.equal(await text("#clock-shows"), "2026-12-30 13:00 +08:00");
      await tab.getByRole("button", { name: within, exact: true }).click();
      assert.equal(await text("#clock-shows"), "2027-01-02 12:00 +08:00");
      await runs.first().locator("summary").click();
      assert.match(await runs.first().locator("pre").innerText(), /"action": "sync"[\s\S]*"service_modules"/);
      await noScrolling();
      await shoot(`campaign-${width}-${locale}`);
      if (locale !== "en-US") return;
      const words = (await text("#campaign")).replaceAll(/Refused because: .*/g, "");
      assert.doesNotMatch(words, /\p{Script=Han}/u, "Chinese on the English page");
      await tab.getByRole("button", { name: "中文" }).click();
      assert.match(await runs.first().innerText(), /没有向微信发送任何请求/);
    });
  }
});
