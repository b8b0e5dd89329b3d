/**
 * A part of a checkpoint that says the same whenever it is made: most of a big state does not change
 * between two checkpoints, and a store writes a name that it has already only as a reference.
 *
 * Invariants
 * - P10 One name, one content, for the life of a store: what is made again under a name is equal to what
 *   was made before, in this process or in another.
 */
export class LastingPart {
  readonly name: string;
  readonly make: () => unknown;

  constructor(name: string, make: () => unknown) {
    this.name = name;
    this.make = make;
  }
}

/** A piece of what is saved, as it was when the save began, whenever it is taken. */
export interface Piece<Part> {
  /** Unique in what it is a piece of, and lasting (P10); null: it will be another the next time. */
  readonly name: string | null;
  take(): Part;
}

/** The part itself, whether it lasts or not. */
export const wholePart = (part: unknown): unknown =>
  part instanceof LastingPart ? part.make() : part;
