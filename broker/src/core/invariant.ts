/** A programmer's error: the core's only throw. The broker that meets one stops and recovers from disk. */
export function invariant(condition: unknown, sentence: string): asserts condition {
  if (!condition) throw new InvariantError(sentence);
}

export class InvariantError extends Error {
  override readonly name = "InvariantError";
}
