/**
 * What matches a query, best first: every word of the query must occur; at the beginning of a word counts more than within one.
 * An empty query matches everything, in order.
 */
export function matching<Item>(
  query: string,
  items: readonly Item[],
  textOf: (item: Item) => string,
): readonly Item[] {
  const wanted = query.toLocaleLowerCase().split(/\s+/).filter(Boolean);
  return items
    .map((item, index) => ({ item, index, rank: rankOf(textOf(item).toLocaleLowerCase(), wanted) }))
    .filter(({ rank }) => rank !== undefined)
    .sort((a, b) => (b.rank ?? 0) - (a.rank ?? 0) || a.index - b.index)
    .map(({ item }) => item);
}

function rankOf(text: string, wanted: readonly string[]): number | undefined {
  let rank = 0;
  for (const word of wanted) {
    const at = text.indexOf(word);
    if (at < 0) return undefined;
    rank += at === 0 || text.charAt(at - 1) === ' ' ? 2 : 1;
  }
  return rank;
}
