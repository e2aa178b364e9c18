// The one point that all views show as selected: `state.point`.

// points: each with its `index`, the place in them.  views: those that `mark()` the selection.
// suggested: gives the index to begin with.
function selector(points, state, views, suggested) {
  const choose = (index) => {
    state.point = points[Math.min(Math.max(index, 0), points.length - 1)] || null;
    if (state.point) history.replaceState(null, "", `#point=${state.point.index}`);
    views.forEach((view) => view.mark());
  };
  // order: indices as they are shown, where that is not from first to last
  choose.byKey = (event, order = points.map(({ index }) => index)) => {
    const steps = {
      ArrowDown: 1,
      ArrowRight: 1,
      ArrowUp: -1,
      ArrowLeft: -1,
      PageDown: 10,
      PageUp: -10,
      Home: -Infinity,
      End: Infinity,
    };
    if (!(event.key in steps) || event.ctrlKey || event.altKey || event.metaKey || !order.length)
      return;
    event.preventDefault();
    const at = state.point ? order.indexOf(state.point.index) : -1;
    choose(order[Math.min(Math.max(at + steps[event.key], 0), order.length - 1)]);
  };
  choose.fromAddress = () => {
    const named = /^#point=(\d+)$/.exec(location.hash);
    choose(named ? Number(named[1]) : suggested());
  };
  return choose;
}
