/** A promise that was broken, by its number in the list of invariants. */
export class Violation extends Error {
  override readonly name = "Violation";
  readonly invariant: string;

  constructor(invariant: string, what: string) {
    super(`${invariant}: ${what}`);
    this.invariant = invariant;
  }
}

/** The text is made only when it is needed: the auditor asks millions of times. */
export function demand(
  holds: boolean,
  invariant: string,
  what: () => string = () => "does not hold",
): asserts holds {
  if (!holds) throw new Violation(invariant, what());
}
