import type { MachineAddress, PoolMachine, Template } from '../api/generated/contract';
import type { Words } from '../i18n/useWords';

/** A machine's name for people; this computer is called that in every language. */
export function nameOfMachine(machine: Pick<PoolMachine, 'name' | 'address'>, thisComputer: string): string {
  return machine.address.kind === 'local' ? thisComputer : machine.name;
}

/** What a machine is called in sentences: this computer is written small within one. */
export function machineNamer(words: Pick<Words, 't'>) {
  return {
    /** Standing alone. */
    title: (machine: Pick<PoolMachine, 'name' | 'address'>) =>
      nameOfMachine(machine, words.t('machine.this_computer')),
    /** Within a sentence. */
    within: (machine: Pick<PoolMachine, 'name' | 'address'>) =>
      nameOfMachine(machine, words.t('machine.this_computer.within')),
  };
}

/** This computer's host name, by which the lines of the activity list and errors call it; undefined before the first picture. */
export function ownNameIn(machines: ReadonlyMap<string, Pick<PoolMachine, 'name' | 'address'>>): string | undefined {
  for (const machine of machines.values()) if (machine.address.kind === 'local') return machine.name;
  return undefined;
}

/** What people call a machine that an activity or an error names. Names are unique in a pool, so `own` is this computer alone. */
export function calledNamer(own: string | undefined, words: Pick<Words, 't'>) {
  return {
    /** Standing alone, or first. */
    title: (name: string) => (name === own ? words.t('machine.this_computer') : name),
    /** Within a sentence. */
    within: (name: string) => (name === own ? words.t('machine.this_computer.within') : name),
  };
}

/** How a machine is reached, as one would type it: "admin@atlas:2222". */
export function targetOf(address: Extract<MachineAddress, { kind: 'ssh' }>): string {
  const user = address.user === null ? '' : `${address.user}@`;
  const port = address.port === null ? '' : `:${String(address.port)}`;
  return `${user}${address.host}${port}`;
}

/** A template's title; a template that the catalogue does not know is called by its id. */
export function titleOfTemplate(template: Pick<Template, 'id'>, words: Pick<Words, 'find'>): string {
  return words.find(`template.${template.id}.title`) ?? template.id;
}

const NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** Whether a host accepts this as an instance's name (RFC 1123, a host name's label). */
export function isInstanceName(name: string): boolean {
  return NAME.test(name);
}
