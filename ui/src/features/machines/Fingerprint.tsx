import { useWords } from '../../i18n/useWords';
import styles from './AddMachine.module.css';

/** A fingerprint in groups that the eye can follow; copied, it is one word again. */
export function Fingerprint({ label, type, fingerprint }: { label: string; type: string; fingerprint: string }) {
  const [scheme, digest] = fingerprint.includes(':') ? fingerprint.split(':', 2) : ['', fingerprint];
  const groups = digest?.match(/.{1,8}/g) ?? [];
  return (
    <div className={styles.fingerprint} role="group" aria-label={label}>
      <small>{[scheme, type].filter(Boolean).join(' · ')}</small>
      <code>
        {groups.map((group, index) => (
          // A fingerprint does not change its groups.
          <span key={`${String(index)}-${group}`}>{group}</span>
        ))}
      </code>
    </div>
  );
}

/** How a person finds out whether it is the right one, without the network in between. */
export function HowToCompare({ type }: { type: string }) {
  const words = useWords();
  return (
    <p className={styles.quiet}>
      {words.t('add.key.compare')} <code className={styles.command}>{printCommand(type)}</code>{' '}
      {words.t('add.key.same')}
    </p>
  );
}

/** Prints the fingerprint of the file where an OpenSSH server keeps its key of that type. */
function printCommand(type: string): string {
  const kind = type.includes('ed25519') ? 'ed25519' : type.includes('ecdsa') ? 'ecdsa' : 'rsa';
  return `ssh-keygen -lf /etc/ssh/ssh_host_${kind}_key.pub`;
}
