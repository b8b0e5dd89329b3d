/** What an operation cost, on average over all that were measured. */
export interface Cost {
  /** LevelDB calls for 1,000 operations, by name. */
  readonly levelOperations: Readonly<Record<string, number>>;
  /** Bytes of blocks for each operation, without its body. */
  readonly overheadBytes: number;
  /** For 1,000 operations. */
  readonly framesOut: number;
  readonly websocketMessagesOut: number;
  /** Bytes of JavaScript objects that the broker made for each operation. */
  readonly garbageBytes: number;
}
