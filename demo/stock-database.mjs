/**
 * The stock service's own database: how much of each article is taken, and for which message. Both are
 * written in one synced batch, so a message that comes again finds its row and takes nothing again.
 */
import { Level } from "level";

export class StockDatabase {
  #level;
  #last = Promise.resolve();

  static async open(directory) {
    const database = new StockDatabase();
    database.#level = new Level(directory, { valueEncoding: "json" });
    await database.#level.open();
    return database;
  }

  /** True: taken now. False: this message had taken it before. */
  reserve(messageId, { id, article, quantity }) {
    // One at a time: `taken` is read, added to and written, which would lose one of two at once.
    const reserved = this.#last.then(async () => {
      if ((await this.#level.get(`reserved!${messageId}`)) !== undefined) return false;
      const taken = (await this.#level.get(`taken!${article}`)) ?? 0;
      await this.#level.batch(
        [
          { type: "put", key: `reserved!${messageId}`, value: { order: id, article, quantity } },
          { type: "put", key: `taken!${article}`, value: taken + quantity },
        ],
        { sync: true },
      );
      return true;
    });
    // A failed write is its caller's to hear, not the next caller's.
    this.#last = reserved.catch(() => undefined);
    return reserved;
  }

  reservations() {
    return this.#level.values({ gt: "reserved!", lt: "reserved!~" }).all();
  }

  /** Quantity by article. */
  async taken() {
    const rows = await this.#level.iterator({ gt: "taken!", lt: "taken!~" }).all();
    return new Map(rows.map(([key, quantity]) => [key.slice("taken!".length), quantity]));
  }

  close() {
    return this.#level.close();
  }
}
