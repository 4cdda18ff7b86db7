import { useRef, useState, type ReactNode } from 'react';

import type { AddMachine as Request, ApiError, HostKeyQuestion, PoolMachine } from '../../api/generated/contract';
import { errorWords } from '../../domain/errors';
import { targetOf, nameOfMachine } from '../../domain/naming';
import { useWords } from '../../i18n/useWords';
import { CommandRefused } from '../../platform';
import { Button } from '../../primitives/Button';
import { Dialog } from '../../primitives/Dialog';
import { Field } from '../../primitives/Field';
import { Icon } from '../../primitives/Icon';
import { Notice } from '../../primitives/Panel';
import { useSession } from '../../session';
import styles from './AddMachine.module.css';
import { Fingerprint, HowToCompare } from './Fingerprint';
import {
  ADD_STEPS,
  addressRequest,
  isPort,
  nameIn,
  stageAfter,
  stageAfterError,
  stepOf,
  type AddressForm,
  type AddStage,
  type AddStep,
} from './adding';

const EMPTY: AddressForm = { host: '', name: undefined, user: '', port: '', key: '' };

/** From an address to a machine in the pool: each question is asked once it comes up, and none is asked twice. */
export function AddMachine() {
  const session = useSession();
  const words = useWords();
  const [form, setForm] = useState(EMPTY);
  const [stage, setStage] = useState<AddStage>({ at: 'address' });
  // The answers so far; secrets live here and nowhere else, and are gone with the dialog.
  const request = useRef<Request | undefined>(undefined);
  const close = () => session.view.getState().openDialog(undefined);

  const attempt = async (answers: Request, after: AddStep) => {
    request.current = answers;
    setStage({ at: 'connecting', after });
    try {
      setStage(stageAfter(await session.platform.call('machine_add', { request: answers })));
    } catch (thrown) {
      if (!(thrown instanceof CommandRefused)) throw thrown;
      setStage(stageAfterError(thrown.error));
    }
  };
  const answer = (more: Partial<Request>, after: AddStep) => {
    if (request.current) void attempt({ ...request.current, ...more }, after);
  };
  const back = () => setStage({ at: 'address' });

  return (
    <Dialog
      title={words.t('add.title')}
      line={words.t('add.line')}
      closeLabel={words.t('dialog.close')}
      onClose={close}
      alarm={stage.at === 'changed'}
    >
      <Steps now={stepOf(stage)} done={stage.at === 'added'} />
      <div aria-live="polite">
        {stage.at === 'address' && (
          <AddressStep form={form} onForm={setForm} onCancel={close} onSubmit={(first) => void attempt(first, 'address')} />
        )}
        {stage.at === 'connecting' && <Connecting form={form} />}
        {stage.at === 'identity' && (
          <IdentityStep
            question={stage.question}
            onReject={close}
            onAccept={() => answer({ accepted_fingerprint: stage.question.fingerprint }, 'identity')}
          />
        )}
        {stage.at === 'password' && (
          <SecretStep
            key={`password-${String(stage.refused)}`}
            title={words.t('add.password.title', { user: stage.user })}
            line={words.t('add.password.line')}
            label={words.t('machine.password')}
            problem={stage.refused ? words.t('add.password.refused') : undefined}
            onBack={back}
            onSubmit={(password) => answer({ password }, 'login')}
          />
        )}
        {stage.at === 'passphrase' && (
          <SecretStep
            key={`passphrase-${String(stage.refused)}`}
            title={words.t('add.passphrase.title')}
            line={words.t('add.passphrase.line', { path: stage.path })}
            label={words.t('machine.passphrase')}
            problem={stage.refused ? words.t('add.passphrase.refused') : undefined}
            onBack={back}
            onSubmit={(passphrase) => answer({ passphrase }, 'login')}
          />
        )}
        {stage.at === 'changed' && <ChangedKey error={stage.error} onClose={close} />}
        {stage.at === 'failed' && (
          <Failed
            error={stage.error}
            onBack={back}
            onRetry={() => answer({}, 'address')}
          />
        )}
        {stage.at === 'added' && <Added machine={stage.machine} onClose={close} />}
      </div>
    </Dialog>
  );
}

function Steps({ now, done }: { now: AddStep; done: boolean }) {
  const words = useWords();
  const at = ADD_STEPS.indexOf(now);
  return (
    <ol className={styles.steps} aria-label={words.t('add.steps')}>
      {ADD_STEPS.map((step, index) => (
        <li
          key={step}
          data-state={index < at || done ? 'done' : index === at ? 'now' : 'ahead'}
          aria-current={index === at ? 'step' : undefined}
        >
          {words.t(`add.step.${step}`)}
        </li>
      ))}
    </ol>
  );
}

interface AddressStepProps {
  form: AddressForm;
  onForm: (form: AddressForm) => void;
  onCancel: () => void;
  onSubmit: (request: Request) => void;
}

function AddressStep({ form, onForm, onCancel, onSubmit }: AddressStepProps) {
  const words = useWords();
  const [tried, setTried] = useState(false);
  const set = (field: keyof AddressForm) => (value: string) => onForm({ ...form, [field]: value });
  return (
    <form
      className={styles.form}
      onSubmit={(event) => {
        event.preventDefault();
        setTried(true);
        const request = addressRequest(form);
        if (request) onSubmit(request);
      }}
    >
      <div className={styles.pair}>
        <Field
          label={words.t('add.host')}
          hint={words.t('add.host.hint')}
          value={form.host}
          onValue={set('host')}
          problem={tried && form.host.trim() === '' ? words.t('add.host.bad') : undefined}
        />
        <Field label={words.t('add.name')} hint={words.t('add.name.hint')} value={nameIn(form)} onValue={set('name')} />
      </div>
      <div className={styles.pair}>
        <Field label={words.t('add.user')} hint={words.t('add.user.hint')} value={form.user} onValue={set('user')} />
        <Field
          label={words.t('add.port')}
          inputMode="numeric"
          placeholder="22"
          value={form.port}
          onValue={set('port')}
          problem={isPort(form.port) ? undefined : words.t('add.port.bad')}
        />
      </div>
      <Field
        label={words.t('add.key')}
        hint={words.t('add.key.hint')}
        placeholder="~/.ssh/id_ed25519"
        value={form.key}
        onValue={set('key')}
      />
      <End>
        <Button kind="quiet" onClick={onCancel}>
          {words.t('dialog.cancel')}
        </Button>
        <Button kind="primary" type="submit" icon="arrow">
          {words.t('add.submit')}
        </Button>
      </End>
    </form>
  );
}

function End({ children }: { children: ReactNode }) {
  return <div className={styles.end}>{children}</div>;
}

function Connecting({ form }: { form: AddressForm }) {
  const words = useWords();
  return (
    <div className={styles.connecting}>
      <span className={styles.waves} aria-hidden="true">
        <i />
        <i />
        <i />
      </span>
      <b>{words.t('add.connecting', { address: form.host.trim() })}</b>
      <p>{words.t('add.connecting.line')}</p>
    </div>
  );
}

interface IdentityStepProps {
  question: HostKeyQuestion;
  onAccept: () => void;
  onReject: () => void;
}

function IdentityStep({ question, onAccept, onReject }: IdentityStepProps) {
  const words = useWords();
  return (
    <div className={styles.form}>
      <div>
        <h3>{words.t('add.key.title', { address: question.address })}</h3>
        <p className={styles.quiet}>{words.t('add.key.line')}</p>
      </div>
      <Fingerprint label={words.t('add.key.fingerprint')} type={question.key_type} fingerprint={question.fingerprint} />
      <HowToCompare type={question.key_type} />
      <End>
        <Button onClick={onReject}>{words.t('add.key.reject')}</Button>
        <Button kind="primary" icon="key" onClick={onAccept}>
          {words.t('add.key.accept')}
        </Button>
      </End>
    </div>
  );
}

interface SecretStepProps {
  title: string;
  line: string;
  label: string;
  problem: string | undefined;
  onBack: () => void;
  onSubmit: (secret: string) => void;
}

function SecretStep({ title, line, label, problem, onBack, onSubmit }: SecretStepProps) {
  const words = useWords();
  const [secret, setSecret] = useState('');
  return (
    <form
      className={styles.form}
      onSubmit={(event) => {
        event.preventDefault();
        if (secret !== '') onSubmit(secret);
      }}
    >
      <div>
        <h3>{title}</h3>
        <p className={styles.quiet}>{line}</p>
      </div>
      <Field
        type="password"
        label={label}
        hint={words.t('add.secret.line')}
        value={secret}
        onValue={setSecret}
        problem={secret === '' ? problem : undefined}
      />
      <End>
        <Button kind="quiet" onClick={onBack}>
          {words.t('add.back')}
        </Button>
        <Button kind="primary" type="submit">
          {words.t('add.continue')}
        </Button>
      </End>
    </form>
  );
}

function ChangedKey({ error, onClose }: { error: ApiError; onClose: () => void }) {
  const words = useWords();
  const { address, key_type: type, fingerprint } = error.details;
  return (
    <div className={styles.form} role="alert">
      <Notice tone="no">
        <b>{words.t('add.changed.title')}</b>
        <p>{words.t('add.changed.line')}</p>
      </Notice>
      {fingerprint !== undefined && (
        <Fingerprint label={words.t('add.changed.now')} type={String(type ?? '')} fingerprint={String(fingerprint)} />
      )}
      <p className={styles.quiet}>{words.t('add.changed.remedy')}</p>
      <code className={styles.command}>{`ssh-keygen -R ${sshKeygenName(String(address ?? ''))}`}</code>
      <End>
        <Button onClick={onClose}>{words.t('dialog.close')}</Button>
      </End>
    </div>
  );
}

/** `known_hosts` writes a port that is not 22 as `[host]:port`. */
function sshKeygenName(address: string): string {
  const match = /^(.+):(\d+)$/.exec(address);
  if (!match) return address;
  const [, host = '', port = ''] = match;
  return port === '22' ? host : `'[${host.replace(/^\[|\]$/g, '')}]:${port}'`;
}

function Failed({ error, onBack, onRetry }: { error: ApiError; onBack: () => void; onRetry: () => void }) {
  const words = useWords();
  const { cause, remedy } = errorWords(error, words);
  return (
    <div className={styles.form} role="alert">
      <h3>{words.t('add.failed.title')}</h3>
      <Notice tone="no">
        <b>{cause}</b>
        {remedy !== undefined && <p>{remedy}</p>}
      </Notice>
      <End>
        <Button kind="quiet" onClick={onBack}>
          {words.t('add.back')}
        </Button>
        <Button kind="primary" icon="again" onClick={onRetry}>
          {words.t('add.failed.retry')}
        </Button>
      </End>
    </div>
  );
}

function Added({ machine, onClose }: { machine: PoolMachine; onClose: () => void }) {
  const session = useSession();
  const words = useWords();
  const name = nameOfMachine(machine, words.t('machine.this_computer'));
  const target = machine.address.kind === 'ssh' ? targetOf(machine.address) : undefined;
  return (
    <div className={styles.added}>
      <span className={styles.seal}>
        <Icon name="check" size={22} />
      </span>
      <h3>{words.t('add.done.title', { machine: name })}</h3>
      {machine.host && (
        <p className={styles.quiet}>
          {words.t('add.done.line', { memory: machine.host.memory_offered_mib, threads: machine.host.threads })}
        </p>
      )}
      {target !== undefined && target !== name && <p className={styles.quiet}>{target}</p>}
      <Button
        kind="primary"
        onClick={() => {
          onClose();
          session.view.getState().select({ kind: 'machine', id: machine.id });
        }}
      >
        {words.t('add.done')}
      </Button>
    </div>
  );
}
