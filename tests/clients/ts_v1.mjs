// The TypeScript SDK, version 1: ts_v1.mjs URL. It speaks the legacy era alone.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { MemoryProvider, serve } from './common.mjs';

const url = new URL(process.argv[2]);
const provider = await new MemoryProvider().listen();
await serve({
  name: 'typescript-v1',
  provider,
  open: () => ({
    client: new Client({ name: 'gatehouse-test', version: '1' }),
    transport: new StreamableHTTPClientTransport(url, { authProvider: provider }),
  }),
  unauthorized: (error) => error instanceof UnauthorizedError,
  finish: (parameters) => [parameters.get('code')],
  protocol: (_, transport) => transport.protocolVersion,
  callTool: (client, call) => client.callTool(call),
});
