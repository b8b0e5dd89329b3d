/**
 * The other packages behind the interfaces of connect.ts. Each is loaded by the first command that
 * needs it: `escrow topic list` loads no SDK, and only `broker start` and `verify` load the storage engine.
 */
import type { Services } from "./connect.ts";

export const SERVICES: Services = {
  createAdmin: async (options) => {
    const { createAdmin } = await import("@escrowmq/protocol/client");
    return createAdmin(options);
  },
  createSender: async (options) => {
    const { createProducer } = await import("@escrowmq/producer");
    return createProducer(options);
  },
  createReceiver: async (options) => {
    const { createConsumer, Release } = await import("@escrowmq/consumer");
    const consumer = await createConsumer(options);
    return {
      lend: (handler) =>
        consumer.run(async (message, context) => {
          const { isRequest } = context;
          await handler({ ...message, isRequest, reply: (body) => context.reply(body) });
          throw new Release();
        }),
      drain: (options) => consumer.drain(options),
      [Symbol.asyncIterator]: () => consumer[Symbol.asyncIterator](),
    };
  },
  createBroker: async (options) => {
    const { createBroker } = await import("@escrowmq/broker");
    return createBroker(options);
  },
  verifyStore: async (directory, onProgress) => {
    const { verifyStore } = await import("@escrowmq/broker");
    return verifyStore(directory, onProgress);
  },
};
