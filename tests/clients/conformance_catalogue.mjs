// What the conformance server offers, by the names that the scenarios of the official suite use.
import { CreateMessageResultSchema, ElicitResultSchema } from '@modelcontextprotocol/sdk/types.js';

/** One red pixel, and a moment of silence. */
const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==';
const WAV = 'UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=';

const text = value => ({ type: 'text', text: value });
const image = { type: 'image', data: PNG, mimeType: 'image/png' };
const audio = { type: 'audio', data: WAV, mimeType: 'audio/wav' };
const embedded = (uri, mimeType, text) => ({ type: 'resource', resource: { uri, mimeType, text } });
const pause = () => new Promise(resolve => setTimeout(resolve, 30));
const field = (type, more) => ({ type, description: `A ${type}`, ...more });
const object = (properties = {}, required = []) => ({ type: 'object', properties, required });

/** An error of JSON-RPC's. */
export function problem(code, message, data) {
  return Object.assign(new Error(message), { code, data });
}

async function elicit({ ask }, message, properties, required = []) {
  const answer = await ask('elicitation/create', { message, requestedSchema: object(properties, required) }, ElicitResultSchema);
  return { content: [text(`action=${answer.action}, content=${JSON.stringify(answer.content ?? {})}`)] };
}

const titled = [
  { const: 'value1', title: 'First Option' },
  { const: 'value2', title: 'Second Option' },
  { const: 'value3', title: 'Third Option' },
];
const options = ['option1', 'option2', 'option3'];

/** Name: [description, properties, required, what it does]. */
const tools = {
  test_simple_text: ['A text', {}, [], () => ({ content: [text('This is a simple text response for testing.')] })],
  test_image_content: ['An image', {}, [], () => ({ content: [image] })],
  test_audio_content: ['A sound', {}, [], () => ({ content: [audio] })],
  test_embedded_resource: ['A resource', {}, [], () => ({
    content: [embedded('test://embedded-resource', 'text/plain', 'This is an embedded resource content.')],
  })],
  test_multiple_content_types: ['Several kinds of content', {}, [], () => ({
    content: [
      text('Multiple content types test:'),
      image,
      embedded('test://mixed-content-resource', 'application/json', '{"test":"data","value":123}'),
    ],
  })],
  test_error_handling: ['An error', {}, [], () => ({
    isError: true, content: [text('This tool intentionally returns an error for testing')],
  })],
  test_tool_with_logging: ['Logs while it works', {}, [], async (_, { notify }) => {
    for (const data of ['Tool execution started', 'Tool processing data', 'Tool execution completed']) {
      await notify('notifications/message', { level: 'info', data });
      await pause();
    }
    return { content: [text('Tool with logging executed successfully')] };
  }],
  test_tool_with_progress: ['Tells how far it is', {}, [], async (_, { notify, progressToken }) => {
    for (const progress of progressToken === undefined ? [] : [0, 50, 100]) {
      await notify('notifications/progress', { progressToken, progress, total: 100 });
      await pause();
    }
    return { content: [text(String(progressToken))] };
  }],
  test_reconnection: ['Closes its stream and goes on', {}, [], async (_, { closeStream }) => {
    closeStream?.();
    await pause();
    return { content: [text('The result waited for whoever resumed the stream.')] };
  }],
  test_sampling: ['Asks the model', { prompt: field('string') }, ['prompt'], async ({ prompt }, { ask }) => {
    const params = { messages: [{ role: 'user', content: text(prompt) }], maxTokens: 100 };
    const answer = await ask('sampling/createMessage', params, CreateMessageResultSchema);
    return { content: [text(`LLM response: ${answer.content.text}`)] };
  }],
  test_elicitation: ['Asks the user', { message: field('string') }, ['message'], ({ message }, context) =>
    elicit(context, message, { username: field('string'), email: field('string') }, ['username', 'email'])],
  test_elicitation_sep1034_defaults: ['Asks with defaults', {}, [], (_, context) =>
    elicit(context, 'Please review the defaults', {
      name: field('string', { default: 'John Doe' }),
      age: field('integer', { default: 30 }),
      score: field('number', { default: 95.5 }),
      status: field('string', { enum: ['active', 'inactive', 'pending'], default: 'active' }),
      verified: field('boolean', { default: true }),
    })],
  test_elicitation_sep1330_enums: ['Asks with choices', {}, [], (_, context) =>
    elicit(context, 'Please choose', {
      untitledSingle: field('string', { enum: options }),
      titledSingle: field('string', { oneOf: titled }),
      legacyEnum: field('string', { enum: ['opt1', 'opt2', 'opt3'], enumNames: ['Option One', 'Option Two', 'Option Three'] }),
      untitledMulti: field('array', { items: { type: 'string', enum: options } }),
      titledMulti: field('array', { items: { anyOf: titled } }),
    })],
  test_missing_capability: ['Needs sampling', {}, [], (_, { capabilities }) => {
    const needed = { requiredCapabilities: { sampling: {} } };
    if (!capabilities?.sampling) throw problem(-32021, 'this tool needs the capability sampling', needed);
    return { content: [text('The capability is declared.')] };
  }],
  test_logging_tool: ['Logs where that was asked for', {}, [], async (_, { notify, logLevel }) => {
    if (logLevel) await notify('notifications/message', { level: 'info', data: 'asked for' });
    return { content: [text('Logged, or not.')] };
  }],
  test_custom_header: ['Has a parameter in a header', { value: field('string', { 'x-mcp-header': 'Value' }) }, ['value'],
    ({ value }) => ({ content: [text(value)] })],
  json_schema_2020_12_tool: ['A schema of JSON Schema 2020-12', {}, [], args => ({ content: [text(JSON.stringify(args))] })],
};

const schema2020 = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  type: 'object',
  $defs: { address: { $anchor: 'addressDef', type: 'object', properties: { street: { type: 'string' }, city: { type: 'string' } } } },
  properties: {
    name: { type: 'string' },
    address: { $ref: '#/$defs/address' },
    contactMethod: { type: 'string', enum: ['phone', 'email'] },
    phone: { type: 'string' },
    email: { type: 'string' },
  },
  allOf: [{ anyOf: [{ required: ['phone'] }, { required: ['email'] }] }],
  if: { properties: { contactMethod: { const: 'phone' } }, required: ['contactMethod'] },
  then: { required: ['phone'] },
  else: { required: ['email'] },
  additionalProperties: false,
};

export const TOOLS = Object.entries(tools).map(([name, [description, properties, required]]) => ({
  name,
  description,
  inputSchema: name === 'json_schema_2020_12_tool' ? schema2020 : object(properties, required),
}));

export async function call({ name, arguments: args = {} }, context) {
  const tool = Object.hasOwn(tools, name) ? tools[name] : undefined;
  if (!tool) throw problem(-32602, `there is no tool ${name}`);
  return tool[3](args, context);
}

/** The parameters of a call that a header repeats (SEP-2243), by the header's name. */
export function headersOf({ name, arguments: args = {} }) {
  const properties = TOOLS.find(tool => tool.name === name)?.inputSchema.properties ?? {};
  const repeated = Object.entries(properties).filter(([key, schema]) => schema['x-mcp-header'] && key in args);
  return Object.fromEntries(repeated.map(([key, schema]) => [schema['x-mcp-header'].toLowerCase(), String(args[key])]));
}

export const RESOURCES = [
  { uri: 'test://static-text', name: 'static-text', mimeType: 'text/plain' },
  { uri: 'test://static-binary', name: 'static-binary', mimeType: 'image/png' },
  { uri: 'test://watched-resource', name: 'watched-resource', mimeType: 'text/plain' },
];

export const TEMPLATES = [{ uriTemplate: 'test://template/{id}/data', name: 'template', mimeType: 'application/json' }];

export function resource({ uri }) {
  const id = /^test:\/\/template\/([^/]+)\/data$/.exec(uri)?.[1];
  const contents = {
    'test://static-text': { mimeType: 'text/plain', text: 'This is the content of the static text resource.' },
    'test://static-binary': { mimeType: 'image/png', blob: PNG },
    'test://watched-resource': { mimeType: 'text/plain', text: 'Watched resource content' },
  }[uri] ?? (id && { mimeType: 'application/json', text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }) });
  if (!contents) throw problem(-32602, 'there is no such resource', { uri });
  return { contents: [{ uri, ...contents }] };
}

const say = content => ({ role: 'user', content });
const argument = name => ({ name, description: `The ${name}`, required: true });

/** Name: [arguments, the messages]. */
const prompts = {
  test_simple_prompt: [[], () => [say(text('This is a simple prompt for testing.'))]],
  test_prompt_with_arguments: [['arg1', 'arg2'], ({ arg1, arg2 }) => [
    say(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)),
  ]],
  test_prompt_with_embedded_resource: [['resourceUri'], ({ resourceUri }) => [
    say(embedded(resourceUri, 'text/plain', 'Embedded resource content for testing.')),
    say(text('Please process the embedded resource above.')),
  ]],
  test_prompt_with_image: [[], () => [say(image), say(text('Please analyze the image above.'))]],
};

export const PROMPTS = Object.entries(prompts).map(([name, [names]]) => ({
  name, description: `The prompt ${name}`, arguments: names.map(argument),
}));

export function prompt({ name, arguments: args = {} }) {
  const found = Object.hasOwn(prompts, name) ? prompts[name] : undefined;
  if (!found) throw problem(-32602, `there is no prompt ${name}`);
  return { messages: found[1](args) };
}
