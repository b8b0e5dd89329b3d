/**
 * The order service's own database. An order and the row that says "transaction T placed it" are one
 * synced batch: that row is all that a check-back needs. There is no outbox, and nothing to clean up.
 */
import { Level } from "level";

export class OrderDatabase {
  #level;

  /** Rejects while another process has it open: LevelDB belongs to one process at a time. */
  static async open(directory) {
    const database = new OrderDatabase();
    database.#level = new Level(directory, { valueEncoding: "json" });
    await database.#level.open();
    return database;
  }

  /** The local transaction. Once it resolves, the order exists whatever happens to this process. */
  async place(order, transactionId) {
    await this.#level.batch(
      [
        { type: "put", key: `order!${order.id}`, value: { ...order, transactionId } },
        { type: "put", key: `placed!${transactionId}`, value: order.id },
      ],
      { sync: true },
    );
  }

  async wasPlaced(transactionId) {
    return (await this.#level.get(`placed!${transactionId}`)) !== undefined;
  }

  orders() {
    return this.#level.values({ gt: "order!", lt: "order!~" }).all();
  }

  close() {
    return this.#level.close();
  }
}
