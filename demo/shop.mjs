/**
 * The customers' side: numbers the orders, hands them to whatever instance serves, and keeps its own
 * ledger of what was asked and answered. The ledger is what the end state is compared with.
 */
export class Shop {
  stage;
  /** The instances that serve now: order, stock. */
  order;
  stock;
  /** By order id. */
  placed = new Map();
  refused = new Map();
  #lastNumber = 0;

  constructor(stage) {
    this.stage = stage;
  }

  draft(customer, article, quantity) {
    this.#lastNumber++;
    return { id: `order-${this.#lastNumber}`, customer, article, quantity };
  }

  /** Resolves with how the transaction ended, or rejects: then only a check-back knows. */
  async place(order, options = {}) {
    const result = await this.order.ask("place", { order, ...options });
    if (result.state === "committed") this.placed.set(order.id, order);
    else if (result.state === "rolledBack") this.refused.set(order.id, order);
    else throw new Error(`${order.id} ended ${result.state}`);
    return result;
  }

  /** For an order whose service died before it could answer its customer. */
  settled(order) {
    this.placed.set(order.id, order);
  }

  /** How many messages consumers can see in a topic. */
  async visible(topic) {
    return (await this.stage.inspect("topic.describe", { topic })).nextOffset;
  }

  reservation(order) {
    return this.stock.hear("reserved", (event) => event.order === order.id);
  }
}
