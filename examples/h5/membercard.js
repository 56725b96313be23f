// The client of a membercard API for H5 pages: copy this file into a shop.
//
//   const membercard = new Membercard({ api: "https://….amazonaws.com", authorization: () => "WeChat-OAuth " + code });
//   const { token } = await membercard.mintBrandToken({ brand_id: "1004", card_id: "pbLatj…" });
//   await openBrandCard(token);
//   const member = await untilMember(() => fetch("/me/member").then((answer) => answer.json()));
//
// What is wrong is thrown as a MembercardError, whose words can be shown.

/**
 * @typedef {import("../types").components["schemas"]} schemas
 * @typedef {import("../types").paths} paths
 */

const paths = /** @type {const} @satisfies {Record<string, keyof paths>} */ ({
  merchantToken: "/v3/marketing/membercard-open/cards/{card_id}/permission-tokens",
  brandToken: "/v3/brand/partner/card-member/pre-auth-tokens",
  brandTokenOld: "/v3/brand/partner/card-member/open-user-card-tokens",
  cardExt: "/card/ext",
  cardCode: "/card/code/decrypt",
  cardUpdate: "/card/update",
});

/** A request that was not served, in words. */
export class MembercardError extends Error {
  /**
   * @param {number} status HTTP status; 0 where there was no answer
   * @param {Partial<schemas["Error"]>} answer the API's error, or API Gateway's, which has a message only
   * @param {number} retryAfter seconds to wait before the next try, as Retry-After says; 0 where there is none
   */
  constructor(status, answer, retryAfter = 0) {
    super(answer.message || `HTTP ${status}`);
    this.name = "MembercardError";
    this.status = status;
    /** `PARAM_ERROR`, …; of API Gateway's own errors `HTTP_403`, … */
    this.code = answer.code || `HTTP_${status}`;
    /** JSON pointer to the field at fault, if one is: `/body/activate_type` */
    this.field = answer.detail?.field;
    /** what to do about it */
    this.solution = answer.solution;
    /** WeChat's Request-ID, for its support */
    this.requestId = answer.request_id;
    this.retryAfter = retryAfter;
  }

  /**
   * Seconds to wait after the n-th attempt before the next one; 0: another attempt does not help. API Gateway's own
   * 429 has no Retry-After, so the pause grows from 1 s.
   * @param {number} attempt
   */
  pause(attempt) {
    return this.retryAfter || (this.status === 429 ? 2 ** (attempt - 1) : 0);
  }

  /** The error as one text for people. */
  get words() {
    return [this.message, this.solution].filter(Boolean).join(" · ");
  }
}

const attempts = 3; // of a request that is answered with 429 or Retry-After
const patience = 10; // seconds: the longest Retry-After that is waited for here
const early = 60; // seconds before expire_time at which a brand token is no longer used

/** @param {number} seconds */
const sleep = (seconds) => new Promise((wake) => setTimeout(wake, seconds * 1000));

export class Membercard {
  /** @type {Map<string, Promise<any>>} brand tokens that are being minted */
  #minting = new Map();

  /**
   * @param {object} options
   * @param {string} options.api the API's URL
   * @param {() => (string | Promise<string>)} [options.authorization] the header Authorization:
   *   "WeChat-OAuth <code of the OAuth redirect>", "Bearer <JWT>", or "" for none
   * @param {string} [options.user] who the tokens are for, where openid is not sent: keeps users of one device apart
   * @param {typeof fetch} [options.fetch]
   */
  constructor({ api, authorization = () => "", user = "", fetch = (...call) => globalThis.fetch(...call) }) {
    this.api = api.replace(/\/+$/, "");
    this.authorization = authorization;
    this.user = user;
    this.fetch = fetch;
  }

  /**
   * 商户预授权: a permission_token, good for opening one card once.
   * @param {string} cardId
   * @param {schemas["PermissionTokenRequest"]} body
   * @returns {Promise<schemas["PermissionToken"]>}
   */
  mintMerchantToken(cardId, body) {
    return this.#post(paths.merchantToken.replace("{card_id}", encodeURIComponent(cardId)), body);
  }

  /**
   * 入会组件预授权: a token, kept for this tab until shortly before expire_time,
   * because WeChat allows five new ones a second for all users together.
   * @param {schemas["BrandTokenRequest"]} body openid may be left out where the user has logged in with WeChat
   * @param {"pre-auth-tokens" | "open-user-card-tokens"} [name] the operation's; both do the same
   * @returns {Promise<schemas["BrandToken"]>}
   */
  mintBrandToken(body, name = "pre-auth-tokens") {
    const path = name === "pre-auth-tokens" ? paths.brandToken : paths.brandTokenOld;
    const key = `membercard:${this.user}:${path}:${JSON.stringify([body.brand_id, body.card_id, body.openid])}`;
    const kept = recall(key);
    if (kept) return Promise.resolve(kept);
    let minting = this.#minting.get(key);
    if (!minting) {
      minting = this.#post(path, body)
        .then((answer) => (keep(key, answer), answer))
        .finally(() => this.#minting.delete(key));
      this.#minting.set(key, minting);
    }
    return minting;
  }

  /** Forgets the brand tokens that were kept, for instance when WeChat refuses one. */
  forgetBrandTokens() {
    try {
      for (const key of Object.keys(sessionStorage)) if (key.startsWith("membercard:")) sessionStorage.removeItem(key);
    } catch {
      // See recall.
    }
  }

  /**
   * The cardList of wx.addCard, signed.
   * @param {schemas["CardToSign"][]} cards
   * @returns {Promise<schemas["CardExtAnswer"]>}
   */
  cardExt(cards) {
    /** @type {schemas["CardsToSign"]} */
    const body = { cardList: cards };
    return this.#post(paths.cardExt, body);
  }

  /**
   * The code that wx.openCard takes, for the encrypted one that wx.addCard gave.
   * @param {string} encryptCode
   * @returns {Promise<schemas["CodeDecrypted"]>}
   */
  decryptCode(encryptCode) {
    /** @type {schemas["CodeToDecrypt"]} */
    const body = { encrypt_code: encryptCode };
    return this.#post(paths.cardCode, body);
  }

  /**
   * 更改卡券信息: the links of a card. For the merchant's own tools; shops have no right to it.
   * @param {schemas["CardUpdate"]} body
   * @returns {Promise<schemas["CardUpdated"]>}
   */
  updateCard(body) {
    return this.#post(paths.cardUpdate, body);
  }

  /**
   * @param {string} path
   * @param {unknown} body
   * @returns {Promise<any>}
   */
  async #post(path, body) {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#send(path, body);
      } catch (error) {
        const wait = error instanceof MembercardError ? error.pause(attempt) : 0;
        if (!wait || wait > patience || attempt === attempts) throw error;
        await sleep(wait * (1 + Math.random())); // with jitter, so that not all come back at once
      }
    }
  }

  /**
   * @param {string} path
   * @param {unknown} body
   */
  async #send(path, body) {
    /** @type {Record<string, string>} */
    const headers = { "Content-Type": "application/json" };
    const authorization = await this.authorization();
    if (authorization) headers.Authorization = authorization;
    const { fetch } = this;
    /** @type {Response} */
    let response;
    try {
      response = await fetch(this.api + path, { method: "POST", headers, body: JSON.stringify(body), cache: "no-store" });
    } catch {
      // The browser tells a page no more than that: no network, or CORS refuses this page's origin.
      throw new MembercardError(0, {
        code: "NOT_ANSWERED",
        message: "the API could not be reached from this page",
        solution: `check the network, and that the API allows the origin ${globalThis.location?.origin}`,
      });
    }
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) {
      throw new MembercardError(response.status, answer ?? {}, Number(response.headers.get("Retry-After")) || 0);
    }
    return answer;
  }
}

/**
 * @param {string} key
 * @returns {schemas["BrandToken"] | undefined}
 */
function recall(key) {
  try {
    const kept = JSON.parse(sessionStorage.getItem(key) ?? "null");
    if (kept && Date.parse(kept.expire_time) - Date.now() > early * 1000) return kept;
    sessionStorage.removeItem(key);
  } catch {
    // No storage, as in some private windows: a token is then minted each time.
  }
  return undefined;
}

/**
 * @param {string} key
 * @param {schemas["BrandToken"]} answer
 */
function keep(key, answer) {
  try {
    sessionStorage.setItem(key, JSON.stringify(answer));
  } catch {
    // See recall.
  }
}

/**
 * Brings up WeChat's component for a merchant card (商家会员卡) with a permission_token.
 * Ends when the user has come back. That does not say that the user is a member; see
 * {@link untilMember}.
 * @param {string} permissionToken
 * @returns {Promise<void>}
 */
export const openMerchantCard = (permissionToken) => openBusinessView("wxpaymktMemberOpen", { permission_token: permissionToken });

/**
 * Brings up WeChat's component for a brand card (品牌会员卡) with a token, and ends like
 * {@link openMerchantCard}.
 * @param {string} token
 * @returns {Promise<void>}
 */
export const openBrandCard = (token) => openBusinessView("wxpayCardMember", { token, scene: "CARD_MEMBER" });

/**
 * Asks the merchant's backend until the user is a member. Only WeChat's notification to
 * the merchant tells whether the user is one: what the component hands back to the page
 * does not, and anybody can forge it.
 * @param {() => Promise<boolean>} ask asks the backend, which learns it from the event bus
 * @param {number} [seconds] how long to ask; the confirmation may take longer than that
 * @param {number} [pause] seconds between two questions
 * @returns {Promise<boolean>} false: it is not known yet
 */
export async function untilMember(ask, seconds = 30, pause = 2) {
  for (const end = Date.now() + seconds * 1000; ; ) {
    if (await ask().catch(() => false)) return true;
    if (Date.now() + pause * 1000 > end) return false;
    await sleep(pause);
  }
}

const oldest = [7, 0, 5]; // the first version of WeChat that has openBusinessView

/**
 * Needs jweixin 1.5.0 or later on the page.
 * @param {string} businessType
 * @param {Record<string, string>} query
 * @returns {Promise<void>}
 */
async function openBusinessView(businessType, query) {
  const version = /MicroMessenger\/([\d.]+)/i.exec(globalThis.navigator?.userAgent ?? "")?.[1];
  const wx = /** @type {any} */ (globalThis).wx;
  if (!version || !wx?.checkJsApi || !wx.invoke) {
    throw new MembercardError(0, { code: "NOT_IN_WECHAT", message: "the card is opened in WeChat", solution: "open this page in WeChat" });
  }
  const old = new MembercardError(0, { code: "WECHAT_TOO_OLD", message: "this version of WeChat can't open the card", solution: "update WeChat" });
  const numbers = version.split(".").map(Number);
  const differs = oldest.findIndex((number, i) => number !== (numbers[i] ?? 0));
  if (differs >= 0 && (numbers[differs] ?? 0) < (oldest[differs] ?? 0)) throw old;

  const isThere = await new Promise((resolve) =>
    wx.checkJsApi({
      jsApiList: ["openBusinessView"],
      success: (/** @type {any} */ result) => resolve(result?.checkResult?.openBusinessView === true),
      fail: () => resolve(false),
    }),
  );
  if (!isThere) throw old;

  const queryString = Object.entries(query)
    .map(([name, value]) => `${name}=${encodeURIComponent(value)}`)
    .join("&");
  await new Promise((resolve, reject) =>
    wx.invoke("openBusinessView", { businessType, queryString }, (/** @type {any} */ result) => {
      const message = String(result?.err_msg ?? result?.errMsg ?? "");
      // Whether the component came up is all that the result is asked for.
      if (/:(?!ok|cancel)/.test(message)) reject(new MembercardError(0, { code: "NOT_OPENED", message }));
      else resolve(undefined);
    }),
  );
}
