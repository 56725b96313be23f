// How the H5 sample brings up WeChat's component, with a WeChat browser that is made up
// here: its user agent and the two functions of jweixin that are used.

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { openBrandCard, openMerchantCard, untilMember } from "../examples/h5/membercard.js";

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
