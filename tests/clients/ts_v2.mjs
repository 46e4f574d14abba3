// The TypeScript SDK, version 2: ts_v2.mjs URL. It asks for the modern era first and falls back.
import { Client, StreamableHTTPClientTransport, UnauthorizedError } from '@modelcontextprotocol/client';
import { MemoryProvider, serve } from './common.mjs';

const url = new URL(process.argv[2]);
const provider = await new MemoryProvider().listen();
await serve({
  name: 'typescript-v2',
  provider,
  open: () => ({
    client: new Client({ name: 'gatehouse-test', version: '2' }, { versionNegotiation: { mode: 'auto' } }),
    transport: new StreamableHTTPClientTransport(url, { authProvider: provider }),
  }),
  unauthorized: (error) => error instanceof UnauthorizedError || error?.cause instanceof UnauthorizedError,
  finish: (parameters) => [parameters],
  protocol: (client, transport) => client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion,
  callTool: (client, call) => client.callTool(call),
});
