// The client of a membercard API for WeChat pages: H5 and mini programs.
//
//   const membercard = new Membercard({ api: "https://….amazonaws.com", login: oauthLogin({ appid: "wx…" }) });
//   const { token } = await membercard.brandToken({ brand_id: "1004", card_id: "pbLatj…" });
//   await openBrandCard(token);
//   const isMember = await untilMember(() => fetch("/me").then((answer) => answer.json()).then((me) => me.member));
//
// What fails is thrown as a MembercardError, which has words for the customer.

import { wordsFor } from "./words.js";

/**
 * @typedef {import("./openapi.js").components["schemas"]} Schemas
 *
 * @typedef {object} Answer of a transport
 * @property {number} status
 * @property {unknown} body parsed JSON, or anything else
 * @property {string | null | undefined} retryAfter the header Retry-After
 *
 * @callback Transport sends one request; rejects if there is no answer
 * @param {{ url: string, method: string, headers: Record<string, string>, body: string }} request
 * @returns {Promise<Answer>}
 *
 * @typedef {object} Login where the header Authorization comes from
 * @property {() => Promise<string>} header the header's value, the same for a whole visit
 * @property {() => void} forget makes the next header a new one: the API has refused this one
 *
 * @typedef {object} Store keeps strings for a visit, as sessionStorage does
 * @property {(key: string) => string | null} getItem
 * @property {(key: string, value: string) => void} setItem
 * @property {(key: string) => void} removeItem
 */

const attempts = 3; // of a request that is answered with 429 or Retry-After
const patience = 10; // seconds: the longest Retry-After that is waited for here
const early = 60; // seconds before expire_time at which a brand token is no longer used

/** A request that was not served, or a component that did not come up. */
export class MembercardError extends Error {
  /**
   * @param {number} status HTTP status; 0 where there was no answer
   * @param {Partial<Schemas["Error"]>} answer the API's error, or API Gateway's, which has only a message
   * @param {number} [retryAfter] seconds to wait before the next try; 0 where the answer does not say
   */
  constructor(status, answer, retryAfter = 0) {
    super(answer.message || `HTTP ${status}`);
    this.name = "MembercardError";
    this.status = status;
    /** `PARAM_ERROR`, …; `HTTP_403`, … of API Gateway's own errors */
    this.code = answer.code || `HTTP_${status}`;
    /** JSON pointer to the field at fault, if one is: `/body/activate_type` */
    this.field = answer.detail?.field;
    /** what whoever wrote the page can do about it */
    this.solution = answer.solution;
    /** WeChat's Request-ID, for its support */
    this.requestId = answer.request_id;
    this.retryAfter = retryAfter;
  }

  /**
   * What to tell the customer.
   * @param {string} [language] such as "zh-CN" or "en"
   */
  words(language = "zh-CN") {
    return wordsFor(this.code, this.status, language);
  }

  /**
   * Seconds to wait after the n-th attempt; 0: another does not help. API Gateway's own 429
   * has no Retry-After, so the pause grows from 1 s.
   * @param {number} attempt
   */
  pause(attempt) {
    return this.retryAfter || (this.status === 429 ? 2 ** (attempt - 1) : 0);
  }
}

/**
 * @param {string} code
 * @param {string} message
 * @param {string} [solution]
 */
const fault = (code, message, solution) => new MembercardError(0, { code, message, solution });

/** @param {number} seconds */
const sleep = (seconds) => new Promise((wake) => setTimeout(wake, seconds * 1000));

/** The client. One for a page: it keeps the login and the tokens of a visit. */
export class Membercard {
  /**
   * @param {object} options
   * @param {string} options.api the API's URL, the stack's output ApiUrl
   * @param {Login} [options.login] see {@link oauthLogin}, {@link miniProgramLogin}, {@link bearerLogin}; none by default
   * @param {Transport} [options.transport] {@link fetchTransport} by default
   * @param {Store} [options.store] where brand tokens are kept for the visit; sessionStorage where there is one
   * @param {string} [options.user] keeps users of one device apart, where openid is not sent
   */
  constructor({ api, login = noLogin, transport = fetchTransport(), store = visitStore(), user = "" }) {
    /** @private */
    this.api = api.replace(/\/+$/, "");
    /** @private */
    this.login = login;
    /** @private */
    this.transport = transport;
    /** @private */
    this.store = store;
    /** @private */
    this.user = user;
    /** @private @type {Map<string, Promise<Schemas["BrandToken"]>>} requests for brand tokens under way */
    this.underWay = new Map();
  }

  /**
   * 商户预授权: a permission_token, for opening one card once.
   * @param {string} cardId
   * @param {Schemas["PermissionTokenRequest"]} body
   * @returns {Promise<Schemas["PermissionToken"]>}
   */
  merchantToken(cardId, body) {
    return this.post(`/v3/marketing/membercard-open/cards/${encodeURIComponent(cardId)}/permission-tokens`, body);
  }

  /**
   * 入会组件预授权: a token, kept until shortly before its expire_time, because WeChat allows
   * five new ones a second for all users together. openid may be left out where the user
   * has logged in with WeChat.
   * @param {Schemas["BrandTokenRequest"]} body
   * @returns {Promise<Schemas["BrandToken"]>}
   */
  brandToken(body) {
    const key = `membercard:${this.user}:${JSON.stringify([body.brand_id, body.card_id, body.openid])}`;
    const kept = this.kept(key);
    if (kept) return Promise.resolve(kept);
    let token = this.underWay.get(key);
    if (!token) {
      token = this.post("/v3/brand/partner/card-member/pre-auth-tokens", body).then((/** @type {Schemas["BrandToken"]} */ answer) => {
        this.keep(key, answer);
        return answer;
      });
      this.underWay.set(key, token);
      const done = () => this.underWay.delete(key);
      token.then(done, done);
    }
    return token;
  }

  /**
   * Forgets a brand token that WeChat's component refused.
   * @param {Schemas["BrandTokenRequest"]} body
   */
  forgetBrandToken(body) {
    this.keep(`membercard:${this.user}:${JSON.stringify([body.brand_id, body.card_id, body.openid])}`, undefined);
  }

  /**
   * The cardList of wx.addCard, signed.
   * @param {Schemas["CardToSign"][]} cardList
   * @returns {Promise<Schemas["CardExtAnswer"]>}
   */
  cardExt(cardList) {
    return this.post("/card/ext", { cardList });
  }

  /**
   * The code that wx.openCard takes, for the encrypted one that wx.addCard gave.
   * @param {string} encryptCode
   * @returns {Promise<Schemas["CodeDecrypted"]>}
   */
  decryptCode(encryptCode) {
    return this.post("/card/code/decrypt", { encrypt_code: encryptCode });
  }

  /**
   * A request: waits where the API says so, and logs in again once where the login was
   * refused or forgotten.
   * @param {string} path
   * @param {unknown} body
   * @returns {Promise<any>}
   */
  async post(path, body) {
    let authorization = await this.login.header();
    let loggedInAgain = false;
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.send(path, body, authorization);
      } catch (error) {
        if (!(error instanceof MembercardError)) throw error;
        if ((error.code === "HTTP_401" || error.code === "HTTP_403") && !loggedInAgain) {
          loggedInAgain = true;
          this.login.forget();
          const refused = authorization;
          authorization = await this.login.header();
          if (authorization !== refused) continue; // the same would be refused again
        }
        const wait = error.pause(attempt);
        if (!wait || wait > patience || attempt >= attempts) throw error;
        await sleep(wait * (1 + Math.random())); // with jitter, so that not all come back at once
      }
    }
  }

  /**
   * @private
   * @param {string} path
   * @param {unknown} body
   * @param {string} authorization
   */
  async send(path, body, authorization) {
    /** @type {Record<string, string>} */
    const headers = { "Content-Type": "application/json" };
    if (authorization) headers.Authorization = authorization;
    /** @type {Answer} */
    let answer;
    try {
      answer = await this.transport({ url: this.api + path, method: "POST", headers, body: JSON.stringify(body) });
    } catch (error) {
      // A browser tells a page no more than that.
      const solution = "check the network; a page's origin must be in AllowedOrigins, a local stack's -origins, and a mini program's request domains must have the API's host";
      throw fault("NOT_ANSWERED", error instanceof Error ? error.message : String(error), solution);
    }
    if (answer.status >= 200 && answer.status < 300) return answer.body;
    const error = answer.body && typeof answer.body === "object" ? answer.body : {};
    throw new MembercardError(answer.status, error, Number(answer.retryAfter) || 0);
  }

  /**
   * @private
   * @param {string} key
   * @returns {Schemas["BrandToken"] | undefined}
   */
  kept(key) {
    try {
      const kept = JSON.parse(this.store.getItem(key) ?? "null");
      if (kept && Date.parse(kept.expire_time) - Date.now() > early * 1000) return kept;
      this.store.removeItem(key);
    } catch {
      // No storage, as in some private windows: each token is then a new one.
    }
    return undefined;
  }

  /**
   * @private
   * @param {string} key
   * @param {Schemas["BrandToken"] | undefined} answer
   */
  keep(key, answer) {
    try {
      if (answer) this.store.setItem(key, JSON.stringify(answer));
      else this.store.removeItem(key);
    } catch {
      // See kept.
    }
  }
}

/**
 * A transport for web pages.
 * @param {(url: string, input: any) => Promise<{ status: number, headers: { get: (name: string) => string | null }, json: () => Promise<any> }>} [call] fetch
 * @returns {Transport}
 */
export function fetchTransport(call = (url, input) => globalThis.fetch(url, input)) {
  return async ({ url, method, headers, body }) => {
    const response = await call(url, { method, headers, body, cache: "no-store" });
    return { status: response.status, body: await response.json().catch(() => undefined), retryAfter: response.headers.get("Retry-After") };
  };
}

/**
 * A transport for mini programs. The API's host must be a legal request domain of the mini program.
 * @param {(input: any) => unknown} [request] wx.request
 * @returns {Transport}
 */
export function wxTransport(request = wx().request) {
  return ({ url, method, headers, body }) =>
    new Promise((resolve, reject) =>
      request({
        url,
        method,
        data: body,
        header: headers,
        success: (/** @type {any} */ result) => {
          const retryAfter = Object.entries(result.header ?? {}).find(([name]) => name.toLowerCase() === "retry-after");
          resolve({ status: result.statusCode, body: result.data, retryAfter: retryAfter ? String(retryAfter[1]) : undefined });
        },
        fail: (/** @type {any} */ result) => reject(new Error(result.errMsg)),
      }),
    );
}

/** @type {Login} */
const noLogin = { header: async () => "", forget() {} };

/**
 * A login with tokens of the shop's own (FrontendAuth=JWT).
 * @param {(again: boolean) => string | Promise<string>} token the JWT; again: the API refused the one before
 * @returns {Login}
 */
export function bearerLogin(token) {
  let again = false;
  return {
    async header() {
      const value = `Bearer ${await token(again)}`;
      again = false;
      return value;
    },
    forget() {
      again = true;
    },
  };
}

/**
 * A login of a mini program with wx.login (FrontendAuth=WECHAT). WeChat takes a code once,
 * and the API remembers whose it was, so the header is kept until it is refused.
 * @param {(input: any) => unknown} [login] wx.login
 * @returns {Login}
 */
export function miniProgramLogin(login = wx().login) {
  /** @type {Promise<string> | undefined} */
  let header;
  return {
    header() {
      if (!header) {
        header = new Promise((resolve, reject) =>
          login({
            success: (/** @type {any} */ { code }) => resolve(`WeChat-MiniProgram ${code}`),
            fail: (/** @type {any} */ { errMsg }) => reject(fault("NOT_LOGGED_IN", errMsg)),
          }),
        );
        header.catch(() => (header = undefined)); // the next request tries again
      }
      return header;
    },
    forget() {
      header = undefined;
    },
  };
}

/**
 * A login of an H5 page by WeChat's OAuth redirect (FrontendAuth=WECHAT). The first header
 * may leave the page for WeChat's, which comes back with a code in the address; the header
 * is then kept for the visit. While the page is being left, LOGGING_IN is thrown.
 * @param {object} options
 * @param {string} options.appid the official account's
 * @param {Store} [options.store] sessionStorage by default
 * @param {string} [options.redirect] the page to come back to; this one by default
 * @returns {Login}
 */
export function oauthLogin({ appid, store = visitStore(), redirect = location.origin + location.pathname }) {
  const header = "membercard-login";
  const state = "membercard-state";
  const query = new URLSearchParams(location.search);
  const code = query.get("code");
  if (code) {
    const asked = store.getItem(state);
    store.removeItem(state);
    // A code that this tab did not ask for may be a stranger's, who wants the customer to act as somebody else.
    if (asked && asked === query.get("state")) store.setItem(header, `WeChat-OAuth ${code}`);
    query.delete("code");
    query.delete("state");
    const rest = query.toString();
    history.replaceState(null, "", location.pathname + (rest && `?${rest}`) + location.hash);
  }
  return {
    async header() {
      const kept = store.getItem(header);
      if (kept) return kept;
      const nonce = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
      store.setItem(state, nonce);
      const input = new URLSearchParams({ appid, redirect_uri: redirect, response_type: "code", scope: "snsapi_base", state: nonce });
      location.href = `https://open.weixin.qq.com/connect/oauth2/authorize?${input}#wechat_redirect`;
      throw fault("LOGGING_IN", "the page is being left for WeChat's login");
    },
    forget() {
      store.removeItem(header);
    },
  };
}

/**
 * Brings up WeChat's component for a merchant card (商家会员卡) on an H5 page, which needs
 * jweixin 1.5.0 or later. Ends when the user has come back. That does not say that the user
 * is a member; see {@link untilMember}.
 * @param {string} permissionToken
 * @returns {Promise<void>}
 */
export const openMerchantCard = (permissionToken) => openBusinessView("wxpaymktMemberOpen", { permission_token: permissionToken });

/**
 * Brings up WeChat's component for a brand card (品牌会员卡), on an H5 page or in a mini
 * program, and ends like {@link openMerchantCard}.
 * @param {string} token
 * @returns {Promise<void>}
 */
export const openBrandCard = (token) => openBusinessView("wxpayCardMember", { token, scene: "CARD_MEMBER" });

/**
 * Brings up WeChat's mini program for a merchant card from a mini program; it needs no token.
 * Call it when the user taps.
 * @param {{ create_card_appid: string, card_id: string, outer_str: string, activate_type?: "ACTIVATE_TYPE_JUMP", jump_url?: string }} card
 * @returns {Promise<void>}
 */
export function openMerchantCardInMiniProgram(card) {
  return new Promise((resolve, reject) =>
    wx().navigateToMiniProgram({ appId: "wxeb490c6f9b154ef9", path: "pages/card_open/card_open", extraData: card, ...outcome(resolve, reject) }),
  );
}

/**
 * Asks the shop's backend until the user is a member. Only WeChat's notification to the
 * merchant tells whether the user is one: what the component hands back does not, and
 * anybody can forge it.
 * @param {() => Promise<boolean>} ask
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

/** @returns {any} WeChat's JS-SDK, or the mini program's API */
function wx() {
  return /** @type {any} */ (globalThis).wx ?? {};
}

const oldest = [7, 0, 5]; // the first version of WeChat that has openBusinessView on a page

/**
 * @param {string} businessType
 * @param {Record<string, string>} query
 * @returns {Promise<void>}
 */
async function openBusinessView(businessType, query) {
  const queryString = Object.entries(query)
    .map(([name, value]) => `${name}=${encodeURIComponent(value)}`)
    .join("&");
  const { openBusinessView: open, checkJsApi, invoke, getAccountInfoSync } = wx();
  const tooOld = fault("WECHAT_TOO_OLD", "this version of WeChat can't open the card");
  if (getAccountInfoSync) {
    // a mini program
    if (!open) throw tooOld;
    return new Promise((resolve, reject) => open({ businessType, queryString, ...outcome(resolve, reject) }));
  }
  const version = /MicroMessenger\/([\d.]+)/i.exec(globalThis.navigator?.userAgent ?? "")?.[1];
  if (!version || !checkJsApi || !invoke) throw fault("NOT_IN_WECHAT", "the card is opened in WeChat");
  const numbers = version.split(".").map(Number);
  const differs = oldest.findIndex((number, i) => number !== (numbers[i] ?? 0));
  if (differs >= 0 && (numbers[differs] ?? 0) < (oldest[differs] ?? 0)) throw tooOld;
  const isThere = await new Promise((resolve) =>
    checkJsApi({
      jsApiList: ["openBusinessView"],
      success: (/** @type {any} */ result) => resolve(result?.checkResult?.openBusinessView === true),
      fail: () => resolve(false),
    }),
  );
  if (!isThere) throw tooOld;
  await new Promise((resolve, reject) =>
    invoke("openBusinessView", { businessType, queryString }, (/** @type {any} */ result) => {
      const message = String(result?.err_msg ?? result?.errMsg ?? "");
      // Whether the component came up is all that the result is asked for.
      if (/:(?!ok|cancel)/.test(message)) reject(fault("NOT_OPENED", message));
      else resolve(undefined);
    }),
  );
}

/**
 * The callbacks of a function of mini programs. A user who turns back is no failure.
 * @param {(value?: any) => void} resolve
 * @param {(error: Error) => void} reject
 */
function outcome(resolve, reject) {
  return {
    success: () => resolve(),
    fail: (/** @type {any} */ { errMsg }) => (String(errMsg).includes("cancel") ? resolve() : reject(fault("NOT_OPENED", errMsg))),
  };
}

/** @returns {Store} sessionStorage, or the memory of this page where there is none, as in mini programs */
function visitStore() {
  try {
    if (globalThis.sessionStorage) return globalThis.sessionStorage;
  } catch {
    // refused, as in some private windows
  }
  /** @type {Map<string, string>} */
  const memory = new Map();
  return {
    getItem: (key) => memory.get(key) ?? null,
    setItem: (key, value) => void memory.set(key, value),
    removeItem: (key) => void memory.delete(key),
  };
}
