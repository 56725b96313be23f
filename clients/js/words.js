// What to tell a customer for each code of an error: [Chinese, English]. A code that is not
// here has the words of its status.

/** @type {Record<string, [string, string]>} */
export const words = {
  // of the API's own checks
  PARAM_ERROR: ["请求内容有误，请检查后再试", "something in the request is wrong; please check it"],
  JUMP_NOT_ALLOWED: ["该跳转地址未被允许，请联系商家", "this target is not allowed; please contact the shop"],
  CODE_NOT_ALLOWED: ["该卡不支持在此页面领取，请联系商家", "this card can't be added from this page; please contact the shop"],
  OPENID_MISMATCH: ["登录用户已变更，请重新登录", "somebody else has logged in; please log in again"],
  NOT_FOUND: ["该功能不存在，请联系商家", "this is not available; please contact the shop"],
  // of WeChat
  INVALID_REQUEST: ["微信未接受该请求，请联系商家", "WeChat did not take the request; please contact the shop"],
  NO_AUTH: ["商家暂未开通此功能", "the shop can't offer this yet"],
  RESOURCE_NOT_EXISTS: ["未找到该会员卡", "there is no such card"],
  FREQUENCY_LIMITED: ["参与的人太多，请稍后再试", "too many people are here right now; please try again in a moment"],
  RATELIMIT_EXCEEDED: ["参与的人太多，请稍后再试", "too many people are here right now; please try again in a moment"],
  WECHAT_40053: ["该会员卡暂时不可用，请联系商家", "this card can't be used at present; please contact the shop"],
  WECHAT_45009: ["今日次数已用完，请明天再试", "today's quota is used up; please come back tomorrow"],
  WECHAT_45011: ["操作过于频繁，请稍后再试", "too many requests; please try again in a moment"],
  WECHAT_45061: ["操作过于频繁，请稍后再试", "too many requests; please try again in a moment"],
  // of the way to WeChat
  SYSTEM_ERROR: ["微信系统繁忙，请稍后再试", "WeChat is busy; please try again"],
  INVALID_RESPONSE: ["微信应答异常，请再试一次", "WeChat's answer could not be verified; please try again"],
  UPSTREAM_TIMEOUT: ["微信响应超时，请再试一次", "WeChat did not answer in time; please try again"],
  UPSTREAM_UNREACHABLE: ["暂时无法连接微信，请稍后再试", "WeChat can't be reached; please try again in a moment"],
  TICKET_UNAVAILABLE: ["卡券服务正在准备，请稍后再试", "cards are being prepared; please try again in a moment"],
  // of the shop's operator
  SIGN_ERROR: ["商家配置有误，请联系商家", "the shop's configuration has a fault; please contact the shop"],
  CONFIG_ERROR: ["商家配置有误，请联系商家", "the shop's configuration has a fault; please contact the shop"],
  WECHAT_40164: ["商家配置有误，请联系商家", "the shop's configuration has a fault; please contact the shop"],
  // of API Gateway
  HTTP_401: ["请重新登录", "please log in again"],
  HTTP_403: ["请重新登录", "please log in again"],
  HTTP_404: ["该功能不存在，请联系商家", "this is not available; please contact the shop"],
  HTTP_429: ["参与的人太多，请稍后再试", "too many people are here right now; please try again in a moment"],
  // of this client
  NOT_ANSWERED: ["网络异常，请检查网络后再试", "there is a problem with the network; please check it and try again"],
  NOT_LOGGED_IN: ["登录失败，请再试一次", "the login failed; please try again"],
  LOGGING_IN: ["正在前往微信登录", "going to WeChat to log in"],
  NOT_IN_WECHAT: ["请在微信中打开", "please open this page in WeChat"],
  WECHAT_TOO_OLD: ["请升级微信后再试", "please update WeChat"],
  NOT_OPENED: ["会员卡未能打开，请再试一次", "the card did not open; please try again"],
};

/** @type {[string, string]} */
const ofTheShop = ["服务异常，请稍后再试", "the service failed; please try again in a moment"];

/** @type {[string, string]} */
const ofTheRequest = ["请求未被接受，请联系商家", "the request was not accepted; please contact the shop"];

/**
 * @param {string} code
 * @param {number} status
 * @param {string} language such as "zh-CN" or "en"
 */
export function wordsFor(code, status, language) {
  const [zh, en] = words[code] ?? (status >= 500 ? ofTheShop : ofTheRequest);
  return /^zh/i.test(language) ? zh : en;
}
