/** Where the pointer is during a drag. Moves are not state: whoever follows them writes to the screen directly. */
export interface Track {
  readonly move: (x: number, y: number) => void;
  /** The answer ends it. */
  readonly follow: (follower: (x: number, y: number) => void) => () => void;
}

export function pointerTrack(): Track {
  const followers = new Set<(x: number, y: number) => void>();
  return {
    move: (x, y) => followers.forEach((follower) => follower(x, y)),
    follow: (follower) => {
      followers.add(follower);
      return () => followers.delete(follower);
    },
  };
}
