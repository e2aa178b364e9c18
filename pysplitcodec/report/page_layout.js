// Where the operators of the graph stand.  Layers from top to bottom: an operator is one below the
// last one it reads.  Lanes side by side: the longest path keeps the rightmost lane, the branches
// fill lanes to its left, and edges that skip operators bulge out to the right.

const NODE_WIDTH = 200;
const NODE_HEIGHT = 24;
const LANE_STEP = NODE_WIDTH + 26;
const LAYER_STEP = 42;
const MARGIN = 14;

// parents: of every node the numbers of the nodes it reads, all smaller than its own; node 0 is
// the model's input.  Gives {nodes: [{x, y}], edges: [{from, to, path}], width, height}.
function layoutGraph(parents) {
  const children = childrenOf(parents);
  const layers = layersOf(parents, children);
  const lanes = lanesOf(children, layers);
  const last = Math.max(...lanes);
  const nodes = layers.map((layer, node) => ({
    x: MARGIN + (last - lanes[node]) * LANE_STEP,
    y: MARGIN + layer * LAYER_STEP,
  }));
  const route = router(nodes, layers, lanes);
  const edges = parents.flatMap((from, to) => from.map((parent) => route(parent, to)));
  return {
    nodes,
    edges,
    width:
      Math.max(...nodes.map(({ x }) => x + NODE_WIDTH), ...edges.map(({ right }) => right)) +
      MARGIN,
    height: Math.max(...nodes.map(({ y }) => y)) + NODE_HEIGHT + MARGIN,
  };
}

function childrenOf(parents) {
  const children = parents.map(() => []);
  parents.forEach((from, node) => from.forEach((parent) => children[parent].push(node)));
  return children;
}

function layersOf(parents, children) {
  const layers = [];
  const constant = [];
  parents.forEach((from, node) => {
    layers.push(from.reduce((layer, parent) => Math.max(layer, layers[parent] + 1), node ? 1 : 0));
    constant.push(node > 0 && from.every((parent) => constant[parent]));
  });
  // what does not depend on the input stands beside those that read it, not at the very top
  for (let node = layers.length - 1; node > 0; node -= 1) {
    if (!constant[node] || !children[node].length) continue;
    const first = Math.min(...children[node].map((child) => layers[child]));
    layers[node] = Math.max(layers[node], first - 1);
  }
  return layers;
}

function lanesOf(children, layers) {
  const lanes = new Array(layers.length).fill(null);
  const taken = []; // per lane, whether a layer is
  for (const path of pathsOf(children)) {
    const end = path[path.length - 1];
    const below = children[end].map((child) => layers[child] - 1);
    // the edge that leaves the path runs down in its lane as far as it can
    const bottom = Math.max(layers[end], below.length ? Math.min(...below) : 0);
    const lane = freeLane(taken, layers[path[0]], bottom);
    path.forEach((node) => (lanes[node] = lane));
  }
  return lanes;
}

// The longest path from the input, then the longest of what is left from its first node on, ...
function pathsOf(children) {
  const reach = children.map(() => 0);
  for (let node = children.length - 1; node >= 0; node -= 1) {
    for (const child of children[node]) reach[node] = Math.max(reach[node], reach[child] + 1);
  }
  const used = new Set();
  const paths = [];
  children.forEach((_, start) => {
    const path = [];
    for (let node = start; known(node) && !used.has(node);) {
      path.push(node);
      used.add(node);
      const left = children[node].filter((child) => !used.has(child));
      node = left.length ? left.reduce((a, b) => (reach[b] > reach[a] ? b : a)) : null;
    }
    if (path.length) paths.push(path);
  });
  return paths;
}

function freeLane(taken, top, bottom) {
  let lane = 0;
  const layers = Array.from({ length: bottom - top + 1 }, (_, index) => top + index);
  while (taken[lane] && layers.some((layer) => taken[lane].has(layer))) lane += 1;
  taken[lane] = taken[lane] || new Set();
  layers.forEach((layer) => taken[lane].add(layer));
  return lane;
}

function router(nodes, layers, lanes) {
  const standing = new Set(layers.map((layer, node) => `${lanes[node]},${layer}`));
  const free = (lane, from, to) => {
    for (let layer = from + 1; layer < to; layer += 1) {
      if (standing.has(`${lane},${layer}`)) return false;
    }
    return true;
  };
  return (from, to) => {
    const [a, b] = [nodes[from], nodes[to]];
    let path;
    let right = 0;
    if (free(lanes[from], layers[from], layers[to])) path = downThenAcross(a, b);
    else if (free(lanes[to], layers[from], layers[to])) path = acrossThenDown(a, b);
    else {
      const bulge = 16 + 16 * Math.log2(layers[to] - layers[from]);
      right = Math.max(a.x, b.x) + NODE_WIDTH + bulge;
      path = around(a, b, right);
    }
    return { from, to, path, right };
  };
}

function downThenAcross(a, b) {
  const [x, y, toX, toY] = [a.x + NODE_WIDTH / 2, a.y + NODE_HEIGHT, b.x + NODE_WIDTH / 2, b.y];
  const turn = toY - (LAYER_STEP - NODE_HEIGHT);
  return `M${x} ${y}V${turn}${step(x, turn, toX, toY)}`;
}

function acrossThenDown(a, b) {
  const [x, y, toX, toY] = [a.x + NODE_WIDTH / 2, a.y + NODE_HEIGHT, b.x + NODE_WIDTH / 2, b.y];
  return `M${x} ${y}${step(x, y, toX, y + LAYER_STEP - NODE_HEIGHT)}V${toY}`;
}

function step(x, y, toX, toY) {
  const middle = (y + toY) / 2;
  return `C${x} ${middle} ${toX} ${middle} ${toX} ${toY}`;
}

function around(a, b, right) {
  const [y, toY] = [a.y + NODE_HEIGHT / 2, b.y + NODE_HEIGHT / 2];
  // a cubic curve comes three quarters of the way to its control points
  const control =
    Math.max(a.x, b.x) + NODE_WIDTH + ((right - Math.max(a.x, b.x) - NODE_WIDTH) * 4) / 3;
  return `M${a.x + NODE_WIDTH} ${y}C${control} ${y} ${control} ${toY} ${b.x + NODE_WIDTH} ${toY}`;
}
