import type { Image, InstanceRequest, PoolMachine, Template } from '../../api/generated/contract';
import { BATCH_MAX } from '../../domain/batch';
import { isInstanceName } from '../../domain/naming';
import type { Message } from '../../domain/message';

/** The form as typed. */
export interface StartForm {
  readonly image: string;
  readonly name: string;
  readonly vcpus: string;
  readonly memory: string;
  readonly disk: string;
  /** Empty for no limit. */
  readonly diskSpeed: string;
  /** Empty for no limit. */
  readonly networkSpeed: string;
  readonly count: string;
}

type NumberField = 'vcpus' | 'memory' | 'disk' | 'diskSpeed' | 'networkSpeed' | 'count';

/** May be left empty. */
const OPTIONAL: readonly NumberField[] = ['diskSpeed', 'networkSpeed'];

/** What a host accepts at all (`InstanceSpec` of the contract); what one machine can hold is its verdict's business. */
export const LIMITS: Readonly<Record<NumberField, { readonly min: number; readonly max: number }>> = {
  vcpus: { min: 1, max: 64 },
  memory: { min: 16, max: 16_777_216 },
  disk: { min: 0, max: 67_108_864 },
  diskSpeed: { min: 1, max: 1_048_576 },
  networkSpeed: { min: 1, max: 1_000_000 },
  count: { min: 1, max: BATCH_MAX },
};

/** The form's beginning: a template's numbers, or modest ones; never less than the image needs. */
export function initialForm(template: Template | undefined, images: readonly Image[]): StartForm {
  const form = {
    image: '',
    name: '',
    vcpus: String(template?.vcpus ?? 1),
    memory: String(template?.memory_mib ?? 128),
    disk: String(template?.disk_mib ?? 0),
    diskSpeed: '',
    networkSpeed: '',
    count: '1',
  };
  return withImage(form, template?.image ?? images[0]?.name ?? '', images);
}

/** The form with another image: what it has less of than that image needs is raised. */
export function withImage(form: StartForm, name: string, images: readonly Image[]): StartForm {
  const image = images.find((image) => image.name === name);
  const raised = (typed: string, least: number) => (Number(typed) < least ? String(least) : typed);
  return {
    ...form,
    image: name,
    memory: raised(form.memory, image?.memory_min_mib ?? 0),
    disk: raised(form.disk, image?.disk_min_mib ?? 0),
  };
}

/** What a field may hold, where its image has a say in it. */
function limitsOf(field: NumberField, image: Image | undefined): { readonly min: number; readonly max: number } {
  const { min, max } = LIMITS[field];
  const least = field === 'memory' ? image?.memory_min_mib : field === 'disk' ? image?.disk_min_mib : undefined;
  return { min: Math.max(min, least ?? 0), max };
}

/** Every image that some machine holds, by name. */
export function imagesOf(machines: Iterable<PoolMachine>): readonly Image[] {
  const byName = new Map<string, Image>();
  for (const machine of machines) for (const image of machine.images) byName.set(image.name, image);
  return [...byName.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** What is wrong with a field of a form with this image; undefined where nothing is. */
export function problemOf(field: keyof StartForm, form: StartForm, image: Image | undefined): Message | undefined {
  switch (field) {
    case 'image':
      return form.image === '' ? { key: 'start.no_image' } : undefined;
    case 'name':
      return form.name === '' || isInstanceName(form.name) ? undefined : { key: 'start.name.bad' };
    default: {
      if (OPTIONAL.includes(field) && form[field] === '') return undefined;
      if (field === 'networkSpeed' && image?.has_kernel === false) return { key: 'start.network_speed.no_kernel' };
      const { min, max } = limitsOf(field, image);
      const value = Number(form[field]);
      const good = /^\d+$/.test(form[field]) && value >= min && value <= max;
      return good ? undefined : { key: 'start.number.bad', values: { min, max } };
    }
  }
}

/** The request that the form stands for; undefined while something in it is wrong. */
export function requestFrom(
  form: StartForm,
  template: Template | undefined,
  image: Image | undefined,
): InstanceRequest | undefined {
  const fields = Object.keys(form) as (keyof StartForm)[];
  if (fields.some((field) => problemOf(field, form, image) !== undefined)) return undefined;
  return {
    name: form.name === '' ? null : form.name,
    name_prefix: template?.name_prefix ?? prefixOf(form.image),
    image: form.image,
    vcpus: Number(form.vcpus),
    memory_mib: Number(form.memory),
    disk_mib: Number(form.disk),
    ...(form.diskSpeed === '' ? {} : { disk_limit: { mib_per_second: Number(form.diskSpeed) } }),
    ...(form.networkSpeed === '' ? {} : { network_limit: { mbit_per_second: Number(form.networkSpeed) } }),
    ports: template?.ports ?? [],
  };
}

/** An image's name as the beginning of a host name: `tiny-linux` gives `tiny`. */
export function prefixOf(image: string): string {
  const word = image.toLowerCase().split(/[^a-z0-9]/)[0] ?? '';
  return word === '' ? 'instance' : word.slice(0, 32);
}
