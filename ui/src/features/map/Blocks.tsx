import { memo, useMemo, useState, type KeyboardEvent, type MouseEvent } from 'react';

import type { Instance } from '../../api/generated/contract';
import { ACTIONS, blocked } from '../../domain/actions';
import { holdsMemory, isMoving, loadOf, phaseOf } from '../../domain/lifecycle';
import { layBlocks, layGhosts, type PlacedBlock, type Scale } from '../../domain/vessel';
import { useWords, type Words } from '../../i18n/useWords';
import { Icon } from '../../primitives/Icon';
import { Menu } from '../../primitives/Menu';
import { useSession } from '../../session';
import styles from './Blocks.module.css';
import { usePlanned } from './usePlanned';

interface BlocksProps {
  instances: readonly Instance[];
  machine: string;
  machineName: string;
  offered: number;
  /** Of the vessel, in CSS pixels. */
  height: number;
  scale: Scale;
}

/** Room between the glass and the blocks, by scale. */
const INSET_PX = { hero: 12, roomy: 7, cosy: 7, snug: 5, dense: 4 } as const;

/** A machine's instances, floating in its water. */
export const Blocks = memo(function Blocks(props: BlocksProps) {
  const { instances, machine, machineName, offered, height, scale } = props;
  const inset = INSET_PX[scale.name];
  const room = useMemo(
    // The rim and the glass are not room; nor is the margin where the marks stand.
    () => ({ width: scale.vesselWidth - 2 * inset - 3 - scale.marks, height: height - 2 * inset }),
    [scale, inset, height],
  );
  const placed = useMemo(() => {
    const floating = instances.map((instance) => ({
      id: instance.id,
      memoryMib: instance.spec.memory_mib,
      afloat: holdsMemory(phaseOf(instance)),
    }));
    const blocks = layBlocks(floating, room, offered, scale.block);
    return new Map(blocks.map((block) => [block.id, block]));
  }, [instances, room, offered, scale]);

  const session = useSession();
  const words = useWords();
  const selected = session.view(({ selection }) => (selection.kind === 'instance' ? selection.id : undefined));
  const leaving = session.instances.leaving((state) => state.leaving);
  const { arriving, departing, stranded } = usePlanned(machine);
  const ghosts = useMemo(
    () => layGhosts(arriving, [...placed.values()], room, offered, scale.block),
    [arriving, placed, room, offered, scale],
  );
  const [menu, setMenu] = useState<OpenMenu | undefined>(undefined);

  return (
    <div className={styles.blocks} data-scale={scale.name} style={{ inset }}>
      {instances.map((instance) => {
        const place = placed.get(instance.id);
        return (
          place && (
            <Block
              key={instance.id}
              instance={instance}
              machine={machine}
              machineName={machineName}
              left={place.left}
              bottom={place.bottom}
              width={place.width}
              height={place.height}
              selected={selected === instance.id}
              leaving={leaving.has(instance.id)}
              departing={departing.has(instance.id)}
              stranded={stranded.has(instance.id)}
              words={words}
              onMenu={setMenu}
            />
          )
        );
      })}
      {ghosts.map(({ id, left, bottom, width, height: tall }) => (
        // The panel lists every move; here it is only seen.
        <span key={id} className={styles.ghost} style={{ left, bottom, width, height: tall }} aria-hidden="true">
          {width >= WORDS_PX_MIN.width && tall >= WORDS_PX_MIN.height && arriving.find((one) => one.id === id)?.name}
        </span>
      ))}
      {menu && (
        <BlockMenu machine={machine} instance={menu.instance} at={menu.at} onClose={() => setMenu(undefined)} />
      )}
    </div>
  );
});

interface OpenMenu {
  readonly instance: Instance;
  readonly at: { readonly x: number; readonly y: number };
}

interface BlockProps extends Omit<PlacedBlock, 'id'> {
  instance: Instance;
  machine: string;
  machineName: string;
  selected: boolean;
  leaving: boolean;
  /** The plan that is looked at moves it away. */
  departing: boolean;
  /** It finds no place in the plan that is looked at. */
  stranded: boolean;
  /** Handed down: thousands of blocks must not each listen for the language. */
  words: Words;
  onMenu: (menu: OpenMenu) => void;
}

/** Narrower or lower than this, a block has no room for words. */
const WORDS_PX_MIN = { width: 34, height: 12 } as const;
const LOAD_PX_MIN = 76;
const SECOND_LINE_PX_MIN = { width: 84, height: 44 } as const;

const Block = memo(function Block(props: BlockProps) {
  const session = useSession();
  const { instance, machine, machineName, left, bottom, width, height, selected, leaving, departing, stranded, words, onMenu } = props;
  const phase = leaving ? 'deleting' : phaseOf(instance);
  const load =
    phase === 'ready' && instance.usage ? loadOf(instance.usage.cpu_percent, instance.spec.vcpus) : undefined;
  const { name, memory_mib: memory } = instance.spec;
  const block = words.t('map.block', { name, phase: words.t(`phase.${phase}`), memory, machine: machineName });
  const label = load ? words.t('map.block.load', { block, load: words.t(`load.${load}`) }) : block;
  const roomForWords = width >= WORDS_PX_MIN.width && height >= WORDS_PX_MIN.height;
  const roomForTwo = width >= SECOND_LINE_PX_MIN.width && height >= SECOND_LINE_PX_MIN.height;

  const openMenu = (event: MouseEvent<HTMLElement>) => {
    event.preventDefault();
    const box = event.currentTarget.getBoundingClientRect();
    const at = event.clientX > 0 ? { x: event.clientX, y: event.clientY } : { x: box.left, y: box.bottom };
    onMenu({ instance, at });
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const machineNow = session.pool.getState().pool.machines.get(machine);
    if (event.key !== 'Delete' || !machineNow || blocked('delete', instance, machineNow.link)) return;
    event.preventDefault();
    void session.instances.act(machine, instance, 'delete');
  };

  return (
    <button
      type="button"
      className={styles.block}
      style={{ left, bottom, width, height }}
      tabIndex={-1}
      data-map-stop="block"
      data-instance-id={instance.id}
      data-instance-name={name}
      data-phase={phase}
      data-moving={isMoving(phase)}
      data-load={load}
      data-selected={selected}
      data-departing={departing}
      data-stranded={stranded}
      aria-label={label}
      title={label}
      onClick={() => session.view.getState().select({ kind: 'instance', id: instance.id, tab: 'overview' })}
      onContextMenu={openMenu}
      onKeyDown={onKeyDown}
    >
      {roomForWords && (
        <span className={styles.words}>
          <b>{name}</b>
          {roomForTwo && <small>{words.t(`phase.${phase}`)}</small>}
        </span>
      )}
      {(phase === 'failed' || stranded) && <Icon name="warning" size={roomForWords ? 14 : 10} />}
      {load && !stranded && roomForWords && width >= LOAD_PX_MIN && <LoadMark load={load} />}
    </button>
  );
});

const BARS = { calm: 1, busy: 2, hot: 3 } as const;

/** Load by shape: one, two or three bars. */
function LoadMark({ load }: { load: keyof typeof BARS }) {
  return (
    <span className={styles.load} aria-hidden="true">
      {[1, 2, 3].map((bar) => (
        <i key={bar} data-on={bar <= BARS[load]} />
      ))}
    </span>
  );
}

function BlockMenu(props: {
  machine: string;
  instance: Instance;
  at: OpenMenu['at'];
  onClose: () => void;
}) {
  const session = useSession();
  const words = useWords();
  const { machine, instance, at, onClose } = props;
  const link = session.pool((state) => state.pool.machines.get(machine)?.link);
  if (!link) return null;
  return (
    <Menu
      label={words.t('action.menu')}
      header={instance.spec.name}
      at={at}
      onClose={onClose}
      items={[
        { id: 'console', label: words.t('instance.open_console') },
        ...ACTIONS.map((action) => {
          const why = blocked(action, instance, link);
          return {
            id: action,
            label: words.t(`action.${action}`),
            note: why ? words.say(why) : words.t(`action.${action}.title`),
            blocked: why !== undefined,
            separated: action === 'start' || action === 'delete',
          };
        }),
      ]}
      onChoose={(id) => {
        const action = ACTIONS.find((one) => one === id);
        if (action) void session.instances.act(machine, instance, action);
        else session.view.getState().select({ kind: 'instance', id: instance.id, tab: 'console' });
      }}
    />
  );
}
