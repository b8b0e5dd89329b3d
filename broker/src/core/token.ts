/** Delivery tokens: which delivery of which message to which group. Opaque to clients. */
export interface DeliveryRef {
  readonly cursorNo: number;
  readonly offset: number;
  readonly deliveryNo: number;
}

export const tokenOf = (cursorNo: number, offset: number, deliveryNo: number): string =>
  `${cursorNo.toString(36)}.${offset.toString(36)}.${deliveryNo.toString(36)}`;

/** Null for text that is no token; it is then as stale as any old one. */
export function readToken(token: string): DeliveryRef | null {
  const first = token.indexOf(".");
  const second = token.indexOf(".", first + 1);
  if (first < 0 || second < 0) return null;
  return {
    cursorNo: readNumber(token, 0, first),
    offset: readNumber(token, first + 1, second),
    deliveryNo: readNumber(token, second + 1, token.length),
  };
}

/** Of 36 digits, as `tokenOf` writes it; NaN for anything else. */
function readNumber(text: string, from: number, to: number): number {
  let number = from < to ? 0 : Number.NaN;
  for (let at = from; at < to; at++) number = number * 36 + digit(text.charCodeAt(at));
  return number;
}

function digit(unit: number): number {
  if (unit >= 0x30 && unit <= 0x39) return unit - 0x30;
  return unit >= 0x61 && unit <= 0x7a ? unit - 0x57 : Number.NaN;
}
