/**
 * A transport for web pages.
 * @param {(url: string, input: any) => Promise<{ status: number, headers: { get: (name: string) => string | null }, json: () => Promise<any> }>} [call] fetch
 * @returns {Transport}
 */
export function fetchTransport(call?: (url: string, input: any) => Promise<{
    status: number;
    headers: {
        get: (name: string) => string | null;
    };
    json: () => Promise<any>;
}>): Transport;
/**
 * A transport for mini programs. The API's host must be a legal request domain of the mini program.
 * @param {(input: any) => unknown} [request] wx.request
 * @returns {Transport}
 */
export function wxTransport(request?: (input: any) => unknown): Transport;
/**
 * A login with tokens of the shop's own (FrontendAuth=JWT).
 * @param {(again: boolean) => string | Promise<string>} token the JWT; again: the API refused the one before
 * @returns {Login}
 */
export function bearerLogin(token: (again: boolean) => string | Promise<string>): Login;
/**
 * A login of a mini program with wx.login (FrontendAuth=WECHAT). WeChat takes a code once,
 * and the API remembers whose it was, so the header is kept until it is refused.
 * @param {(input: any) => unknown} [login] wx.login
 * @returns {Login}
 */
export function miniProgramLogin(login?: (input: any) => unknown): Login;
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
export function oauthLogin({ appid, store, redirect }: {
    appid: string;
    store?: Store | undefined;
    redirect?: string | undefined;
}): Login;
/**
 * Brings up WeChat's mini program for a merchant card from a mini program; it needs no token.
 * Call it when the user taps.
 * @param {{ create_card_appid: string, card_id: string, outer_str: string, activate_type?: "ACTIVATE_TYPE_JUMP", jump_url?: string }} card
 * @returns {Promise<void>}
 */
export function openMerchantCardInMiniProgram(card: {
    create_card_appid: string;
    card_id: string;
    outer_str: string;
    activate_type?: "ACTIVATE_TYPE_JUMP";
    jump_url?: string;
}): Promise<void>;
/**
 * Asks the shop's backend until the user is a member. Only WeChat's notification to the
 * merchant tells whether the user is one: what the component hands back does not, and
 * anybody can forge it.
 * @param {() => Promise<boolean>} ask
 * @param {number} [seconds] how long to ask; the confirmation may take longer than that
 * @param {number} [pause] seconds between two questions
 * @returns {Promise<boolean>} false: it is not known yet
 */
export function untilMember(ask: () => Promise<boolean>, seconds?: number, pause?: number): Promise<boolean>;
/** A request that was not served, or a component that did not come up. */
export class MembercardError extends Error {
    /**
     * @param {number} status HTTP status; 0 where there was no answer
     * @param {Partial<Schemas["Error"]>} answer the API's error, or API Gateway's, which has only a message
     * @param {number} [retryAfter] seconds to wait before the next try; 0 where the answer does not say
     */
    constructor(status: number, answer: Partial<Schemas["Error"]>, retryAfter?: number);
    status: number;
    /** `PARAM_ERROR`, …; `HTTP_403`, … of API Gateway's own errors */
    code: string;
    /** JSON pointer to the field at fault, if one is: `/body/activate_type` */
    field: string | undefined;
    /** what whoever wrote the page can do about it */
    solution: string | undefined;
    /** WeChat's Request-ID, for its support */
    requestId: string | undefined;
    retryAfter: number;
    /**
     * What to tell the customer.
     * @param {string} [language] such as "zh-CN" or "en"
     */
    words(language?: string): string;
    /**
     * Seconds to wait after the n-th attempt; 0: another does not help. API Gateway's own 429
     * has no Retry-After, so the pause grows from 1 s.
     * @param {number} attempt
     */
    pause(attempt: number): number;
}
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
    constructor({ api, login, transport, store, user }: {
        api: string;
        login?: Login | undefined;
        transport?: Transport | undefined;
        store?: Store | undefined;
        user?: string | undefined;
    });
    /** @private */
    private api;
    /** @private */
    private login;
    /** @private */
    private transport;
    /** @private */
    private store;
    /** @private */
    private user;
    /** @private @type {Map<string, Promise<Schemas["BrandToken"]>>} requests for brand tokens under way */
    private underWay;
    /**
     * 商户预授权: a permission_token, for opening one card once.
     * @param {string} cardId
     * @param {Schemas["PermissionTokenRequest"]} body
     * @returns {Promise<Schemas["PermissionToken"]>}
     */
    merchantToken(cardId: string, body: Schemas["PermissionTokenRequest"]): Promise<Schemas["PermissionToken"]>;
    /**
     * 入会组件预授权: a token, kept until shortly before its expire_time, because WeChat allows
     * five new ones a second for all users together. openid may be left out where the user
     * has logged in with WeChat.
     * @param {Schemas["BrandTokenRequest"]} body
     * @returns {Promise<Schemas["BrandToken"]>}
     */
    brandToken(body: Schemas["BrandTokenRequest"]): Promise<Schemas["BrandToken"]>;
    /**
     * Forgets a brand token that WeChat's component refused.
     * @param {Schemas["BrandTokenRequest"]} body
     */
    forgetBrandToken(body: Schemas["BrandTokenRequest"]): void;
    /**
     * The cardList of wx.addCard, signed.
     * @param {Schemas["CardToSign"][]} cardList
     * @returns {Promise<Schemas["CardExtAnswer"]>}
     */
    cardExt(cardList: Schemas["CardToSign"][]): Promise<Schemas["CardExtAnswer"]>;
    /**
     * The code that wx.openCard takes, for the encrypted one that wx.addCard gave.
     * @param {string} encryptCode
     * @returns {Promise<Schemas["CodeDecrypted"]>}
     */
    decryptCode(encryptCode: string): Promise<Schemas["CodeDecrypted"]>;
    /**
     * A request: waits where the API says so, and logs in again once where the login was
     * refused or forgotten.
     * @param {string} path
     * @param {unknown} body
     * @returns {Promise<any>}
     */
    post(path: string, body: unknown): Promise<any>;
    /**
     * @private
     * @param {string} path
     * @param {unknown} body
     * @param {string} authorization
     */
    private send;
    /**
     * @private
     * @param {string} key
     * @returns {Schemas["BrandToken"] | undefined}
     */
    private kept;
    /**
     * @private
     * @param {string} key
     * @param {Schemas["BrandToken"] | undefined} answer
     */
    private keep;
}
export function openMerchantCard(permissionToken: string): Promise<void>;
export function openBrandCard(token: string): Promise<void>;
export type Schemas = import("./openapi.js").components["schemas"];
/**
 * of a transport
 */
export type Answer = {
    status: number;
    /**
     * parsed JSON, or anything else
     */
    body: unknown;
    /**
     * the header Retry-After
     */
    retryAfter: string | null | undefined;
};
/**
 * sends one request; rejects if there is no answer
 */
export type Transport = (request: {
    url: string;
    method: string;
    headers: Record<string, string>;
    body: string;
}) => Promise<Answer>;
/**
 * where the header Authorization comes from
 */
export type Login = {
    /**
     * the header's value, the same for a whole visit
     */
    header: () => Promise<string>;
    /**
     * makes the next header a new one: the API has refused this one
     */
    forget: () => void;
};
/**
 * keeps strings for a visit, as sessionStorage does
 */
export type Store = {
    getItem: (key: string) => string | null;
    setItem: (key: string, value: string) => void;
    removeItem: (key: string) => void;
};
