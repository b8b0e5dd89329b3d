/**
 * Requests and replies, as requesters and handlers see them.
 *
 * Rules
 * - Q1 A reply comes to the connection that asked, and to nobody else, as it was said.
 * - Q2 None comes more often than it was said, and none after its connection has ended.
 */
export class Talk {
  /** By correlation: who asked. */
  readonly #asked = new Map<string, string>();
  /** By correlation and content: how often it was said, less how often it came. */
  readonly #said = new Map<string, number>();

  heard = 0;

  /** `asker`: a connection. */
  asks(asker: string, correlation: string): void {
    this.#asked.set(correlation, asker);
  }

  /** Refused or not: nobody knows what became of it before its answer. */
  says(correlation: string, content: string): void {
    this.#count(`${correlation} ${content}`, 1);
  }

  /** A problem, or null. */
  hears(asker: string, correlation: string, content: string): string | null {
    this.heard++;
    const known = this.#asked.get(correlation);
    if (known !== asker)
      return `Q1: ${asker} hears what ${known ?? "nobody"} asked: ${correlation}`;
    if (this.#count(`${correlation} ${content}`, -1) < 0)
      return `Q2: ${asker} hears ${content} to ${correlation} more often than it was said`;
    return null;
  }

  #count(key: string, by: number): number {
    const count = (this.#said.get(key) ?? 0) + by;
    this.#said.set(key, count);
    return count;
  }
}
