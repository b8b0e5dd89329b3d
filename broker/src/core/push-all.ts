/**
 * Puts all of `from` behind `to`: by place, because an iterator makes an object for each item where the compiler
 * does not take it away, and not as arguments, because there may be more than a call can have.
 */
export function pushAll<Item>(to: Item[], from: readonly Item[]): void {
  for (let at = 0; at < from.length; at++) to.push(from[at] as Item);
}
