/** How a filter is refused: with the place and the reason, and never with a word of its own text. */
import { EscrowError } from "@escrowmq/protocol";

/** `at` counts as JavaScript does; who reads the position counts characters, in whatever language. */
export function refuse(text: string, at: number, reason: string): never {
  const position = [...text.slice(0, at)].length;
  throw new EscrowError(
    "FILTER_INVALID",
    `The filter is wrong at character ${position}: ${reason}.`,
    { detail: { position, reason } },
  );
}
