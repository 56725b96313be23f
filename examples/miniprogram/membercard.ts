// The client of a membercard API for mini programs: copy this file into a shop.

import type { components } from "../types";

type schemas = components["schemas"];

/** The API's URL: the stack's output ApiUrl, a legal request domain of the mini program. */
const api = "https://example.execute-api.ap-east-1.amazonaws.com";

const attempts = 3; // of a request that is answered with 429 or Retry-After
const patience = 10; // seconds: the longest Retry-After that is waited for here
const early = 60; // seconds before expire_time at which a brand token is no longer used

/** A request that was not served, in words. */
export class MembercardError extends Error {
  readonly code: string;
  readonly field?: string;
  readonly solution?: string;
  readonly requestId?: string;

  constructor(
    readonly status: number, // 0: there was no answer
    answer: Partial<schemas["Error"]>, // the API's, or API Gateway's, which has a message only
    readonly retryAfter = 0, // seconds, as Retry-After says; 0 where there is none
  ) {
    super(answer.message || `HTTP ${status}`);
    this.name = "MembercardError";
    this.code = answer.code || `HTTP_${status}`;
    this.field = answer.detail?.field;
    this.solution = answer.solution;
    this.requestId = answer.request_id;
  }

  /** Seconds to wait after the n-th attempt; 0: another does not help. API Gateway's own 429 has no Retry-After, so the pause grows from 1 s. */
  pause(attempt: number): number {
    return this.retryAfter || (this.status === 429 ? 2 ** (attempt - 1) : 0);
  }
}

/** 入会组件预授权: a token, kept until shortly before expire_time. The user is the one who is logged in. */
export async function mintBrandToken(body: schemas["BrandTokenRequest"]): Promise<schemas["BrandToken"]> {
  const key = JSON.stringify([body.brand_id, body.card_id, body.openid]);
  const held = kept.get(key);
  if (held && Date.parse(held.expire_time) - Date.now() > early * 1000) return held;
  const made = await post<schemas["BrandToken"]>("/v3/brand/partner/card-member/pre-auth-tokens", body);
  kept.set(key, made);
  return made;
}

const kept = new Map<string, schemas["BrandToken"]>();

/** The cardList of wx.addCard, signed. */
export async function cardExt(cards: schemas["CardToSign"][]): Promise<schemas["CardExtAnswer"]["cardList"]> {
  const body: schemas["CardsToSign"] = { cardList: cards };
  return (await post<schemas["CardExtAnswer"]>("/card/ext", body)).cardList;
}

/** Newer than the typings: opens a component of WeChat Pay. */
type WithBusinessView = {
  openBusinessView?: (input: {
    businessType: string;
    queryString: string;
    success: () => void;
    fail: (result: { errMsg: string }) => void;
  }) => void;
};

/**
 * Brings up WeChat's component for a brand card (品牌会员卡) with a token. That the user
 * comes back does not say that the user is a member; see untilMember.
 */
export function openBrandCard(token: string): Promise<void> {
  const { openBusinessView } = wx as WithBusinessView;
  if (!openBusinessView) return Promise.reject(new MembercardError(0, { code: "WECHAT_TOO_OLD", message: "请升级微信后再试" }));
  return new Promise((success, fail) =>
    openBusinessView({
      businessType: "wxpayCardMember",
      queryString: `token=${encodeURIComponent(token)}&scene=CARD_MEMBER`,
      success,
      fail: ({ errMsg }) => (errMsg.includes("cancel") ? success() : fail(new MembercardError(0, { code: "NOT_OPENED", message: errMsg }))),
    }),
  );
}

/** What WeChat's mini program for merchant cards takes. */
export interface MerchantCard {
  create_card_appid: string; // AppID that the card was created with
  card_id: string;
  outer_str: string; // a label of your own
  activate_type?: "ACTIVATE_TYPE_JUMP"; // the user activates the card at jump_url
  jump_url?: string;
}

/**
 * Brings up WeChat's component for a merchant card (商家会员卡), a mini program of
 * WeChat's. It needs no token. Call it when the user taps: WeChat asks the user first.
 * That the user comes back does not say that the user is a member; see untilMember.
 */
export function openMerchantCard(card: MerchantCard): Promise<void> {
  return new Promise((success, fail) =>
    wx.navigateToMiniProgram({
      appId: "wxeb490c6f9b154ef9",
      path: "pages/card_open/card_open",
      extraData: { ...card },
      success: () => success(),
      fail: ({ errMsg }) => (errMsg.includes("cancel") ? success() : fail(new MembercardError(0, { code: "NOT_OPENED", message: errMsg }))),
    }),
  );
}

/**
 * Asks the merchant's backend until the user is a member. Only WeChat's notification to
 * the merchant tells whether the user is one: what a component hands back does not.
 * Returns false if that is not known after 30 s; the confirmation may take longer.
 */
export async function untilMember(ask: () => Promise<boolean>): Promise<boolean> {
  const pause = 2; // seconds
  for (const end = Date.now() + 30_000; ; ) {
    if (await ask().catch(() => false)) return true;
    if (Date.now() + pause * 1000 > end) return false;
    await new Promise<void>((wake) => setTimeout(wake, pause * 1000));
  }
}

/** Sends a request; waits where the API says so, and logs in again where the login was forgotten. */
async function post<Answer>(path: string, body: WechatMiniprogram.IAnyObject): Promise<Answer> {
  let fresh = !login;
  for (let attempt = 1; ; attempt++) {
    try {
      return await send<Answer>(path, body);
    } catch (error) {
      if (!(error instanceof MembercardError)) throw error;
      if (error.code === "HTTP_403" && !fresh) {
        login = undefined;
        fresh = true;
        continue;
      }
      const wait = error.pause(attempt);
      if (!wait || wait > patience || attempt >= attempts) throw error;
      await new Promise<void>((wake) => setTimeout(wake, wait * (1 + Math.random()) * 1000)); // with jitter, so that not all come back at once
    }
  }
}

async function send<Answer>(path: string, data: WechatMiniprogram.IAnyObject): Promise<Answer> {
  const code = await loginCode();
  const response = await new Promise<WechatMiniprogram.RequestSuccessCallbackResult>((success, fail) =>
    wx.request({
      url: api + path,
      method: "POST",
      data,
      header: { "Content-Type": "application/json", Authorization: `WeChat-MiniProgram ${code}` },
      success,
      fail: ({ errMsg }) => fail(new MembercardError(0, { code: "NOT_ANSWERED", message: errMsg })),
    }),
  );
  if (response.statusCode === 200) return response.data as Answer;
  const header = Object.entries(response.header ?? {}).find(([name]) => name.toLowerCase() === "retry-after");
  const answer = typeof response.data === "object" ? (response.data as Partial<schemas["Error"]>) : {};
  throw new MembercardError(response.statusCode, answer, Number(header?.[1]) || 0);
}

// WeChat takes a code once; the API remembers whose it was, so that it is sent
// with every request until it is refused.
let login: Promise<string> | undefined;

function loginCode(): Promise<string> {
  login ??= new Promise<string>((resolve, reject) =>
    wx.login({
      success: ({ code }) => resolve(code),
      fail: ({ errMsg }) => {
        login = undefined;
        reject(new MembercardError(0, { code: "NOT_LOGGED_IN", message: errMsg }));
      },
    }),
  );
  return login;
}
