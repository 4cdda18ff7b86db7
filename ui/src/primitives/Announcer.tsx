/** Tells screen readers a sentence; the same sentence again is told again, because `turn` is another one. */
export function Announcer({ text, turn }: { text: string; turn: number }) {
  return (
    <>
      <div className="visually-hidden" role="status" aria-live="assertive">
        {turn % 2 === 0 ? text : ''}
      </div>
      <div className="visually-hidden" role="status" aria-live="assertive">
        {turn % 2 === 1 ? text : ''}
      </div>
    </>
  );
}
