// The shop's page. The client asks the shop, which asks membercard with IAM: see shop.go.

import { Membercard, openBrandCard, openMerchantCard, untilMember } from "./membercard/index.js";

const card = { brand_id: "1004", card_id: "pbLatjvWOibDc5-TBnbUk1pD12o0" };
const logIn = () => location.assign("/login");
const membercard = new Membercard({ api: location.origin, login: { header: async () => "", forget: logIn } });
const $ = (id) => document.getElementById(id);

async function me() {
  const answer = await fetch("/me");
  if (answer.status === 401) {
    logIn();
    await new Promise(() => {}); // the page is being left
  }
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
  return answer.json();
}

async function greet() {
  try {
    const { member, number } = await me();
    $("greeting").textContent = member ? `会员，您好！会员号 ${number}` : "欢迎光临，加入会员享受优惠。";
    $("join").hidden = member;
  } catch {
    $("greeting").textContent = "服务异常，请稍后再试";
  }
}

/** Waits for WeChat's notification, which says whether the customer is a member. */
async function settle() {
  $("join").hidden = true;
  $("greeting").textContent = "正在确认…";
  if (await untilMember(async () => (await me()).member === true)) return greet();
  $("greeting").textContent = "会员卡稍后生效，请过几分钟再来。";
}

async function join(open) {
  $("join").hidden = true;
  try {
    await open();
    await settle();
  } catch (error) {
    $("greeting").textContent = error.words?.("zh-CN") ?? "服务异常，请稍后再试";
    $("join").hidden = false;
  }
}

$("brand").onclick = () =>
  join(async () => {
    const { token } = await membercard.brandToken(card);
    membercard.forgetBrandToken(card); // it opens one card
    await openBrandCard(token);
  });
$("merchant").onclick = () =>
  join(async () => openMerchantCard((await membercard.merchantToken(card.card_id, { activate_type: "JUMP_ACTIVATE" })).permission_token));

if (location.hash === "#joined") settle();
else greet();
