/** NATS JetStream: one file stream per topic, explicit acks, the client's pull consumer. */
import { AckPolicy, jetstream, jetstreamManager, StorageType } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { topicsOf } from "../scenarios.mjs";

const PREFETCH = 1000;

const open = ({ addresses }) => {
  const { port } = addresses.nats ?? addresses["nats-fsync"];
  return connect({ servers: `127.0.0.1:${port}` });
};

export async function setUp(place) {
  const connection = await open(place);
  const manager = await jetstreamManager(connection);
  for (const topic of topicsOf(place.scenario))
    await manager.streams.add({ name: topic, subjects: [topic], storage: StorageType.File });
  await connection.close();
}

export async function tearDown(place) {
  const connection = await open(place);
  const manager = await jetstreamManager(connection);
  for (const topic of topicsOf(place.scenario)) await manager.streams.delete(topic);
  await connection.close();
}

export async function openProducer(place) {
  const connection = await open(place);
  // Asking the server for its abilities costs each of 1,000 connections one more round trip.
  const client = jetstream(connection, { timeout: 30_000 });
  return {
    operate: (topic, body) => client.publish(topic, body),
    close: () => connection.close(),
  };
}

export async function openConsumer(place, group) {
  const connection = await open(place);
  const manager = await jetstreamManager(connection);
  const client = jetstream(connection);
  const consumers = [];
  for (const topic of topicsOf(place.scenario)) {
    await manager.consumers.add(topic, { durable_name: group, ack_policy: AckPolicy.Explicit });
    consumers.push(await client.consumers.get(topic, group));
  }
  return {
    start(onMessage, onFault) {
      for (const consumer of consumers) consume(consumer, onMessage).catch(onFault);
    },
    // The server says nothing to an ack; a flush proves that it has read them all.
    settle: () => connection.flush(),
    close: () => connection.close(),
  };
}

async function consume(consumer, onMessage) {
  const messages = await consumer.consume({ max_messages: PREFETCH });
  for await (const message of messages) {
    message.ack();
    onMessage(message.data, message.redelivered);
  }
}
