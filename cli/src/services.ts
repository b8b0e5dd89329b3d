/**
 * The other packages behind the interfaces of connect.ts. Each is loaded by the first command that
 * needs it: `escrow topic list` loads no SDK, and only `broker start` and `verify` load the storage engine.
 */
import type { Services } from "./connect.ts";

export const SERVICES: Services = {
  connectAdmin: async (options) => {
    const { connectAdmin } = await import("@escrowmq/protocol/client");
    return connectAdmin(options);
  },
  createSender: async (options) => {
    const { createProducer } = await import("@escrowmq/producer");
    return createProducer(options);
  },
  createReceiver: async (options) => {
    const { createConsumer } = await import("@escrowmq/consumer");
    return createConsumer(options);
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
