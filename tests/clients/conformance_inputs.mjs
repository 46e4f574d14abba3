// Multi-round requests of 2026-07-28 (SEP-2322): tools, and a prompt, that ask back before they answer.
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { problem } from './conformance_catalogue.mjs';

const KEY = randomBytes(32);
const CAPABILITIES = 'io.modelcontextprotocol/clientCapabilities';

const elicit = (message, member, type = 'string') => ({
  method: 'elicitation/create',
  params: { message, requestedSchema: { type: 'object', properties: { [member]: { type } }, required: [member] } },
});
const sample = (question, maxTokens = 100) => ({
  method: 'sampling/createMessage',
  params: { messages: [{ role: 'user', content: { type: 'text', text: question } }], maxTokens },
});
const roots = { method: 'roots/list', params: {} };

/** What each asks for, round by round; `state`: whether it carries a signed state. */
const ROUNDS = {
  test_input_required_result_elicitation: [{ user_name: elicit('What is your name?', 'name') }],
  test_input_required_result_sampling: [{ capital_question: sample('What is the capital of France?') }],
  test_input_required_result_list_roots: [{ client_roots: roots }],
  test_input_required_result_request_state: [{ confirm: elicit('Please confirm', 'ok', 'boolean') }],
  test_input_required_result_tampered_state: [{ confirm: elicit('Please confirm', 'ok', 'boolean') }],
  test_input_required_result_multiple_inputs: [{
    user_name: elicit('What is your name?', 'name'), greeting: sample('Generate a greeting', 50), client_roots: roots,
  }],
  test_input_required_result_multi_round: [
    { step1: elicit('Step 1: What is your name?', 'name') },
    { step2: elicit('Step 2: What is your favorite color?', 'color') },
  ],
  test_input_required_result_capabilities: [{ name: elicit('What is your name?', 'name'), idea: sample('An idea?') }],
  test_input_required_result_prompt: [{ user_context: elicit('What context should the prompt use?', 'context') }],
  test_streaming_elicitation: [{ user_name: elicit('What is your name?', 'name') }],
};
const PROMPT = 'test_input_required_result_prompt';

export const INPUT_TOOLS = Object.keys(ROUNDS).filter(name => name !== PROMPT).map(name => ({
  name, description: 'Asks back before it answers', inputSchema: { type: 'object', properties: {} },
}));
export const INPUT_PROMPTS = [{ name: PROMPT, description: 'Asks back before it answers', arguments: [] }];

const sign = text => `${text}.${createHmac('sha256', KEY).update(text).digest('base64url')}`;

/** The round that a state says; a state that is not ours is refused. */
function roundOf(name, state) {
  if (state === undefined) return 0;
  const text = state.slice(0, state.lastIndexOf('.'));
  const [given, expected] = [Buffer.from(String(state)), Buffer.from(sign(text))];
  const good = given.length === expected.length && timingSafeEqual(given, expected) && text.startsWith(`${name}:`);
  if (!good) throw problem(-32602, 'the request state is not ours');
  return Number(text.slice(name.length + 1));
}

/** Whether an answer is one to what was asked. */
function answers({ method, params }, answer) {
  if (method === 'roots/list') return Array.isArray(answer?.roots);
  if (method === 'sampling/createMessage') return answer?.content !== undefined;
  return answer?.action !== undefined && (answer.action !== 'accept' || params.requestedSchema.required[0] in (answer.content ?? {}));
}

/** The next round of a request, or nothing when everything is answered or nothing is ever asked. */
export function ask({ name, inputResponses = {}, requestState, _meta }) {
  const rounds = Object.hasOwn(ROUNDS, name) ? ROUNDS[name] : [];
  let round = roundOf(name, requestState);
  const declared = _meta?.[CAPABILITIES] ?? {};
  const can = method => method.split('/')[0] in declared;
  const open = requests => Object.entries(requests).filter(([key, request]) =>
    !answers(request, inputResponses[key]) && (name !== 'test_input_required_result_capabilities' || can(request.method)));
  while (round < rounds.length && open(rounds[round]).length === 0) round++;
  if (round >= rounds.length) return undefined;
  const inputRequests = Object.fromEntries(open(rounds[round]));
  return { resultType: 'input_required', inputRequests, requestState: sign(`${name}:${round}`) };
}

export const asks = name => Object.hasOwn(ROUNDS, name);
