/**
 * @param {string} code
 * @param {number} status
 * @param {string} language such as "zh-CN" or "en"
 */
export function wordsFor(code: string, status: number, language: string): string;
/** @type {Record<string, [string, string]>} */
export const words: Record<string, [string, string]>;
