// The MCP server that the official conformance suite wants: the tools, resources and prompts that its scenarios name.
// Both eras on one URL: the legacy one by the TypeScript SDK's transport, the stateless one (2026-07-28) by hand.
// Prints its URL. Argument: the port, or 0.
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import * as types from '@modelcontextprotocol/sdk/types.js';
import * as catalogue from './conformance_catalogue.mjs';
import * as inputs from './conformance_inputs.mjs';

const SERVER = { name: 'conformance-backend', version: '1' };
const CAPABILITIES = {
  completions: {},
  logging: {},
  prompts: { listChanged: true },
  resources: { listChanged: true, subscribe: true },
  tools: { listChanged: true },
};
/** Where nothing is subscribed to. */
const STATELESS = { completions: {}, logging: {}, prompts: {}, resources: {}, tools: {} };
const VERSION = 'io.modelcontextprotocol/protocolVersion';
const CLIENT = 'io.modelcontextprotocol/clientCapabilities';

/** What both eras answer alike: the method, and a function of its parameters. */
const METHODS = {
  'completion/complete': () => ({ completion: { values: ['paris', 'park', 'party'], total: 3, hasMore: false } }),
  'prompts/get': catalogue.prompt,
  'prompts/list': (_, { stateless }) => ({ prompts: [...catalogue.PROMPTS, ...(stateless ? inputs.INPUT_PROMPTS : [])] }),
  'resources/list': () => ({ resources: catalogue.RESOURCES }),
  'resources/read': catalogue.resource,
  'resources/templates/list': () => ({ resourceTemplates: catalogue.TEMPLATES }),
  'tools/call': catalogue.call,
  'tools/list': (_, { stateless }) => ({ tools: [...catalogue.TOOLS, ...(stateless ? inputs.INPUT_TOOLS : [])] }),
};

/** Events of streams that may be resumed, by stream. */
class Events {
  #streams = new Map();

  async storeEvent(stream, message) {
    const events = this.#streams.get(stream) ?? [];
    this.#streams.set(stream, events);
    events.push(message);
    return `${stream}~${events.length}`;
  }

  async replayEventsAfter(last, { send }) {
    const [stream, count] = last.split('~');
    const events = this.#streams.get(stream) ?? [];
    for (let index = Number(count); index < events.length; index++) {
      if (events[index]?.jsonrpc) await send(`${stream}~${index + 1}`, events[index]);
    }
    return stream;
  }
}

const sessions = new Map();

async function open() {
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    eventStore: new Events(),
    retryInterval: 200,
    onsessioninitialized: id => sessions.set(id, transport),
    onsessionclosed: id => sessions.delete(id),
  });
  const server = new Server(SERVER, { capabilities: CAPABILITIES });
  for (const schema of Object.values(types).filter(isRequest)) {
    const method = schema.shape.method.value;
    const answer = METHODS[method] ?? { 'resources/subscribe': () => ({}), 'resources/unsubscribe': () => ({}) }[method];
    if (answer) {
      server.setRequestHandler(schema, (request, extra) => answer(request.params, {
        ask: (method, params, schema) => extra.sendRequest({ method, params }, schema),
        closeStream: () => transport.closeSSEStream(extra.requestId),
        notify: (method, params) => extra.sendNotification({ method, params }),
        progressToken: extra._meta?.progressToken,
      }));
    }
  }
  await server.connect(transport);
  return transport;
}

const isRequest = schema => typeof schema?.shape?.method?.value === 'string' && schema.shape.params !== undefined;

/** What a header of SEP-2243 says; nothing when it cannot be read. */
function decoded(value) {
  const encoded = /^=\?base64\?(.*)\?=$/.exec(value ?? '')?.[1];
  if (encoded === undefined) return value;
  const bytes = Buffer.from(encoded, 'base64');
  return bytes.toString('base64') === encoded ? bytes.toString() : undefined;
}

/** Asks back, and then says that it has what it asked for. */
const askFirst = method => method && (params => inputs.ask(params) ?? (method === METHODS['prompts/get']
  ? { messages: [{ role: 'user', content: { type: 'text', text: 'With the context that was asked for.' } }] }
  : { content: [{ type: 'text', text: 'state-ok: everything was answered' }] }));

/** A request of 2026-07-28: it stands alone. */
async function stateless(request, body, response) {
  const { id, method, params = {} } = body;
  const meta = params._meta ?? {};
  const _meta = { 'io.modelcontextprotocol/serverInfo': SERVER };
  const send = (status, message) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ jsonrpc: '2.0', id, ...message }));
  };
  const fail = (status, code, message, data) => send(status, { error: { code, message, ...(data && { data }) } });
  const header = name => request.headers[name];
  const name = params.name ?? params.uri;
  if (!meta[VERSION] || !meta[CLIENT]) return fail(400, -32602, '_meta must name the protocol version and capabilities');
  const headers = [['mcp-method', method], ['mcp-protocol-version', meta[VERSION]]];
  if (['tools/call', 'prompts/get', 'resources/read'].includes(method)) headers.push(['mcp-name', name]);
  for (const [key, value] of headers) {
    if (header(key) !== value) return fail(400, -32020, `${key} does not say what the body says`);
  }
  for (const [parameter, value] of Object.entries(catalogue.headersOf(params))) {
    if (decoded(header(`mcp-param-${parameter}`)) !== value) return fail(400, -32020, `mcp-param-${parameter} does not match`);
  }
  if (meta[VERSION] !== '2026-07-28') {
    const data = { supported: ['2026-07-28', '2025-11-25'], requested: meta[VERSION] };
    return fail(400, -32022, 'the protocol version is not supported', data);
  }
  const cacheable = ['tools/list', 'prompts/list', 'resources/list', 'resources/templates/list', 'resources/read', 'server/discover'];
  const hints = cacheable.includes(method) ? { ttlMs: 60_000, cacheScope: 'public' } : {};
  if (method === 'server/discover') {
    const result = { supportedVersions: ['2026-07-28', '2025-11-25'], capabilities: STATELESS };
    return send(200, { result: { resultType: 'complete', ...hints, ...result, _meta } });
  }
  const answer = inputs.asks(params.name) ? askFirst(METHODS[method]) : METHODS[method];
  if (!answer) return fail(404, -32601, `there is no ${method}`);
  let streaming = false;
  const notify = async (method, params) => {
    if (!streaming) response.writeHead(200, { 'content-type': 'text/event-stream' });
    streaming = true;
    response.write(`event: message\ndata: ${JSON.stringify({ jsonrpc: '2.0', method, params })}\n\n`);
  };
  try {
    const result = await answer(params, {
      notify, progressToken: meta.progressToken, stateless: true, capabilities: meta[CLIENT],
      logLevel: meta['io.modelcontextprotocol/logLevel'],
    });
    const message = { result: { resultType: 'complete', ...hints, ...result, _meta } };
    if (!streaming) return send(200, message);
    response.end(`event: message\ndata: ${JSON.stringify({ jsonrpc: '2.0', id, ...message })}\n\n`);
  } catch (error) {
    fail(error.code === -32021 ? 400 : 200, error.code ?? -32603, error.message, error.data);
  }
}

async function serve(request, response) {
  // DNS rebinding: a page whose name was rebound to loopback carries that name.
  const local = /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/;
  const origin = request.headers.origin?.replace(/^https?:\/\//, '');
  if (!local.test(request.headers.host ?? '') || (origin && !local.test(origin))) return void response.writeHead(403).end();
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString();
  const body = text ? JSON.parse(text) : undefined;
  const session = request.headers['mcp-session-id'];
  const modern = body?.params?._meta?.[VERSION] || request.headers['mcp-protocol-version'] === '2026-07-28';
  if (modern) {
    if (body?.id === undefined) return void response.writeHead(request.method === 'POST' ? 202 : 405).end();
    return stateless(request, body, response);
  }
  const transport = body?.method === 'initialize' && !session ? await open() : sessions.get(session);
  if (!transport) return void response.writeHead(session ? 404 : 400).end();
  return transport.handleRequest(request, response, body);
}

const server = createServer((request, response) => {
  serve(request, response).catch(error => {
    console.error(error);
    if (!response.headersSent) response.writeHead(400);
    response.end();
  });
});
server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}/mcp`));
