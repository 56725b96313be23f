// A page of a shop: what a reader of the package's README writes.
import { Membercard, MembercardError, oauthLogin, openBrandCard, untilMember } from "membercard";
import type { components } from "membercard/openapi";

const membercard = new Membercard({ api: "https://example.execute-api.ap-east-1.amazonaws.com", login: oauthLogin({ appid: "wx37178d097a6851d8" }) });

export async function join(body: components["schemas"]["BrandTokenRequest"]): Promise<string> {
  try {
    const { token } = await membercard.brandToken(body);
    await openBrandCard(token);
    return (await untilMember(async () => (await (await fetch("/me")).json()).member === true)) ? "member" : "not yet";
  } catch (error) {
    if (error instanceof MembercardError) return error.words(navigator.language);
    throw error;
  }
}

// @ts-expect-error a field that the API does not have
void membercard.brandToken({ brand_id: "1004", card_id: "p", user: "o" });
