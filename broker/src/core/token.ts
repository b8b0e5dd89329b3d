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
  const [cursorNo, offset, deliveryNo] = token.split(".").map((part) => Number.parseInt(part, 36));
  if (cursorNo === undefined || offset === undefined || deliveryNo === undefined) return null;
  return { cursorNo, offset, deliveryNo };
}
