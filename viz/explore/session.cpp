#include "viz/explore/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/error.h"
#include "viz/explore/batch.h"

namespace espalier::viz {
void show_panel(Look& look, Panel panel) {
  if (look.panel != panel) {
    look.sort_column = -1;
    look.sort_down = true;
    look.filter.clear();
    if (panel == Panel::strategies) {  // the fastest first
      look.sort_column = 1;
      look.sort_down = false;
    }
  }
  look.panel = panel;
}

namespace {

constexpr double kLeastShown = 1e-4;

double longest_us(const Outcome& outcome) {
  return std::max(outcome.sides[0].shown() ? outcome.sides[0].us() : 0,
                  outcome.sides[1].shown() ? outcome.sides[1].us() : 0);
}

Span1 around(double low, double high) {
  const double room = std::max(0.1 * (high - low), kLeastShown);
  return {std::clamp(low - room, 0.0, 1.0), std::clamp(high + room, 0.0, 1.0)};
}

/// When the tasks and merges of a selection run.
void fit_time(Session& session, const Outcome& outcome, SideId id, const Linked& linked) {
  const SideOutcome& side = outcome.side(id);
  const double whole = longest_us(outcome);
  double low = whole, high = 0;
  for (const scheduler::Span& span : side.explanation.result.timeline.spans) {
    const bool task = span.kind == scheduler::SpanKind::task, step = span.kind == scheduler::SpanKind::step;
    if (!(task && linked.has({ItemKind::task, span.item})) && !(step && linked.has({ItemKind::merge, span.item}))) {
      continue;
    }
    low = std::min(low, span.begin_us);
    high = std::max(high, span.end_us);
  }
  if (low < high && whole > 0) session.look.time = around(low / whole, high / whole);
}

void fit_forest(Session& session, const Outcome& outcome, const Linked& linked) {
  const traces::PrefixForest& forest = *outcome.forest;
  if (linked.nodes.empty()) return;
  const ForestWindow whole = whole_forest(forest, 1, 1);
  double left = whole.requests, right = 0, top = whole.tokens, bottom = 0;
  for (const std::int32_t i : linked.nodes) {
    const traces::NodeId n(i);
    left = std::min<double>(left, forest.request_begin[n].value);
    right = std::max<double>(right, forest.request_end[n].value);
    top = std::min(top, static_cast<double>(forest.tokens_before[n]));
    bottom = std::max(bottom, static_cast<double>(forest.tokens_before[n] + forest.tokens[n]));
  }
  session.look.forest_requests = around(left / whole.requests, right / whole.requests);
  session.look.forest_tokens = around(top / whole.tokens, bottom / whole.tokens);
}

void forget_places(Session& session) {
  session.selection = {};
  session.look.forest_requests = session.look.forest_tokens = session.look.time = {};
  session.look.range.reset();
  session.look.brush.reset();
}

bool same_batch(const Settings& a, const Settings& b) {
  return a.family == b.family && a.family_options == b.family_options && a.seed == b.seed && a.snapshot == b.snapshot &&
         a.running == b.running;
}

/// Whether nothing but the edits of a side differs: tasks of its plan can be found again.
bool differ_by_edits(Settings a, const Settings& b, SideId side) {
  a.side(side).edits = b.side(side).edits;
  return a == b;
}

/// Whether ids of nodes and requests mean the same in both; lengths may differ.
bool same_places(const traces::PrefixForest& a, const traces::PrefixForest& b) {
  return a.parent == b.parent && a.leaf == b.leaf && a.request_label == b.request_label;
}

bool is_of_plan(const Selection& selection) {
  return selection.kind == ItemKind::task || selection.kind == ItemKind::merge;
}

const scheduler::Plan* plan_on_show(const SideOutcome& side) {
  return side.shown() ? side.plan.get() : side.faulty.get();
}

/// Of the selected task; 0: none is.
std::int32_t copies_of_selection(const Session& session, const Outcome& outcome) {
  const SideOutcome& side = outcome.side(session.selected_side);
  if (session.selection.kind != ItemKind::task || !side.shown() ||
      static_cast<std::size_t>(session.selection.index) >= side.plan->tasks.size()) {
    return 0;
  }
  return side.plan->tasks[scheduler::TaskId(session.selection.index)].copies;
}

/// "espalier beside flash_decoding, task 3".
std::string view_name(const Session& session) {
  std::string name = side_title(session.settings.a);
  if (session.settings.compare) name += fmt::format(" beside {}", side_title(session.settings.b));
  if (const Selection item = session.awaited.value_or(session.selection); item.kind != ItemKind::none) {
    name += fmt::format(", {} {}", item_kind_name(item.kind), item.index);
  }
  return name;
}

/// Carries out one action.
struct Performer {
  Session& session;
  const Outcome& outcome;

  void operator()(const Choose& choose) const {
    if (edits_plan(choose) && outcome.forest != nullptr && !answers(outcome, session)) {
      throw core::usage_error("The plan is being made anew: edit it when it is there.");
    }
    Settings next = session.settings;
    apply(next, choose.change, session.given);
    if (next == session.settings) return;
    session.history.remember(session.settings, choose.change, choose.held);
    take(std::move(next));
  }
  void operator()(const Select& select) const {
    if (!(select.item == session.selection)) session.look.copy = 0;
    session.selection = select.item;
    session.awaited.reset();
    session.look.brush.reset();
    if (select.item.kind == ItemKind::none) session.look.range.reset();
    session.selected_side = session.settings.compare ? select.side : SideId::a;
  }
  void operator()(const BrushTasks& tasks) const {
    (*this)(Select{});
    if (tasks.brush && tasks.brush->intensity.size() > 0 && tasks.brush->rate.size() > 0) {
      session.look.brush = tasks.brush;
    }
  }
  void operator()(const ChooseCopy& choose) const {
    const std::int32_t copies = copies_of_selection(session, outcome);
    session.look.copy =
        copies > 0 ? std::max(0, choose.copy) % copies : std::max(0, choose.copy);  // after the last the first
  }
  void operator()(const ShowPanel& show) const { show_panel(session.look, show.panel); }
  void operator()(const ShowInsight& show) const { session.look.insight = show.insight; }
  void operator()(const EditSide& edit) const {
    if (session.settings.compare) session.look.edited = edit.side;  // else A alone is shown
  }
  void operator()(const SetColourBy& set) const {
    session.look.colour_by = set.colour_by;
    session.look.isolated = Paint::none;
  }
  void operator()(const Isolate& only) const {
    session.look.isolated = only.paint == session.look.isolated ? Paint::none : only.paint;
  }
  void operator()(const Measure& measure) const {
    session.look.range.reset();
    if (!measure.range) return;
    const double begin = std::clamp(measure.range->begin, 0.0, 1.0), end = std::clamp(measure.range->end, 0.0, 1.0);
    if (begin != end) session.look.range = Span1{std::min(begin, end), std::max(begin, end)};
  }
  void operator()(const SetTheme& set) const { session.look.theme = set.theme; }
  void operator()(const ShowHelp& show) const { session.look.help = show.shown; }
  void operator()(const SortBy& sort) const {
    session.look.sort_down = session.look.sort_column == sort.column ? !session.look.sort_down : true;
    session.look.sort_column = sort.column;
  }
  void operator()(const Filter& filter) const { session.look.filter = filter.text; }
  void operator()(const Play& play) const { session.look.playing = play.on; }
  void operator()(const Decode& decode) const {
    // The outcome may be an older one, of another replay.
    const bool ends = outcome.steps > 0 && replays_trace(session.settings, session.given) &&
                      outcome.given.trace == session.given.trace &&
                      outcome.settings.running == session.settings.running;
    const double last = ends ? static_cast<double>(outcome.steps - 1) : std::numeric_limits<double>::infinity();
    const double step = std::min(std::min<double>(session.settings.decode_step, last) + decode.tokens, last);
    (*this)(Choose{{Knob::decode_step, SideId::a, {}, step}, session.look.playing});
    if (session.settings.decode_step < step || step == last) session.look.playing = false;  // the end
  }
  void operator()(const Zoom& zoom) const {
    if (zoom.plane == Plane::time) {
      session.look.time = zoomed(session.look.time, zoom.factor, zoom.at);
    } else {
      session.look.forest_requests = zoomed(session.look.forest_requests, zoom.factor, zoom.at);
      session.look.forest_tokens = zoomed(session.look.forest_tokens, zoom.factor, zoom.at_y);
    }
  }
  void operator()(const Pan& pan) const {
    if (pan.plane == Plane::time) {
      session.look.time = panned(session.look.time, pan.by);
    } else {
      session.look.forest_requests = panned(session.look.forest_requests, pan.by);
      session.look.forest_tokens = panned(session.look.forest_tokens, pan.by_y);
    }
  }
  void operator()(FitAll) const { session.look.forest_requests = session.look.forest_tokens = session.look.time = {}; }
  void operator()(FitSelection) const {
    const bool brush = session.selection.kind == ItemKind::none && session.look.brush;
    const SideId side = brush ? session.look.brush->side : session.selected_side;
    if (!outcome.side(side).shown()) return;
    const Linked linked = linked_of(session, outcome, side);
    fit_time(session, outcome, side, linked);
    fit_forest(session, outcome, linked);
  }
  void operator()(const Export& wanted) const { session.exports.push_back(wanted.format); }
  void operator()(const Say& say) const { session.said = say.sentence; }
  void operator()(const ShowPalette& show) const {
    session.look.palette = show.shown;
    session.look.palette_text.clear();
  }
  void operator()(const TypePalette& type) const { session.look.palette_text = type.text; }
  void operator()(KeepView) const {
    constexpr std::size_t kMost = 20;
    if (session.kept.size() == kMost) session.kept.erase(session.kept.begin());
    const bool replaced = is_of_plan(session.selection) && outcome.forest != nullptr &&
                          !answers(outcome, session);  // its ids aren't those of the view
    session.kept.push_back({view_name(session), session.settings, session.look,
                            session.awaited.value_or(replaced ? Selection{} : session.selection),
                            session.selected_side});
    session.kept_shown = session.kept.size() - 1;
  }
  void operator()(const ShowKept& show) const {
    if (show.index >= session.kept.size()) return;
    const KeptView view = session.kept[show.index];
    if (!(view.settings == session.settings)) {
      session.history.remember(session.settings, {Knob::seed, SideId::a, {}, 0}, false);
    }
    session.settings = view.settings;
    session.look = view.look;
    session.selection = {};
    session.awaited = view.selection;
    session.selected_side = view.selected_side;
    session.kept_shown = show.index;
    if (outcome.forest == nullptr || answers(outcome, session)) {
      session.selection = *std::exchange(session.awaited, std::nullopt);
    }
  }
  void operator()(Undo) const { step(true); }
  void operator()(Redo) const { step(false); }

  void step(bool back) const {
    Settings next = session.settings;
    if (back ? session.history.undo(next) : session.history.redo(next)) take(std::move(next));
  }
  /// Ids of another batch or plan mean something else.
  void take(Settings next) const {
    session.awaited.reset();
    if (!same_batch(next, session.settings)) {
      forget_places(session);
    } else if (next.decode_step != session.settings.decode_step && replays_trace(next, session.given)) {
      session.selection = {};  // others run then
    } else if (session.selection.kind == ItemKind::merge ||
               (session.selection.kind == ItemKind::task &&
                !differ_by_edits(next, session.settings, session.selected_side))) {
      session.selection = {};
    }
    session.settings = std::move(next);
    if (session.settings.compare) return;
    session.look.edited = session.selected_side = SideId::a;  // A alone is shown
    if (session.look.brush && session.look.brush->side == SideId::b) session.look.brush.reset();
  }
};

}  // namespace

void perform(Session& session, const Action& action, const Outcome& outcome) {
  std::visit(Performer{session, outcome}, action);
  session.settings.rank = session.look.panel == Panel::strategies;
}

namespace {

void forget_item_of_plan(Selection& selection) {
  if (is_of_plan(selection)) selection = {};
}

}  // namespace

bool answers(const Outcome& outcome, const Session& session) {
  return (outcome.forest != nullptr || !outcome.problem.empty()) && outcome.settings == session.settings &&
         same_inputs(outcome.given, session.given);
}

bool edits_plan(const Action& action) {
  const auto* choose = std::get_if<Choose>(&action);
  return choose != nullptr && choose->change.knob == Knob::edit;
}

Session continued(Session fresh, const Session& before) {
  Settings settings = before.settings;
  settings.given_plan = settings.given_plan && fresh.given.plan != nullptr;
  settings.measured = settings.measured && fresh.given.measurement != nullptr;
  if (settings.given_plan) settings.heads = fresh.settings.heads;
  settings.a.edits.clear();
  settings.b.edits.clear();
  settings.snapshot = std::clamp<std::int32_t>(settings.snapshot, 0,
                                               std::max(0, static_cast<std::int32_t>(fresh.given.forests.size()) - 1));
  Session next = before;
  next.given = std::move(fresh.given);
  next.settings = std::move(settings);
  next.exports.clear();
  next.history.forget_edits(next.settings);
  forget_item_of_plan(next.selection);
  if (next.awaited) forget_item_of_plan(*next.awaited);
  for (KeptView& view : next.kept) {
    view.settings.a.edits.clear();
    view.settings.b.edits.clear();
    forget_item_of_plan(view.selection);
  }
  return next;
}

void follow_selection(Session& session, const Outcome& before, const Outcome& after) {
  if (session.awaited && answers(after, session)) {
    session.selection = *std::exchange(session.awaited, std::nullopt);
    return;
  }
  if (session.selection.kind == ItemKind::none || before.forest == nullptr) return;
  if (!is_of_plan(session.selection)) {
    if (after.forest == nullptr || !same_places(*before.forest, *after.forest)) session.selection = {};
    return;
  }
  const SideOutcome &old_side = before.side(session.selected_side), &new_side = after.side(session.selected_side);
  const scheduler::Plan *old_plan = plan_on_show(old_side), *new_plan = plan_on_show(new_side);
  if (old_plan != nullptr && new_plan != nullptr && old_plan->hash == new_plan->hash) return;
  const bool edited = old_side.shown() && new_side.shown() && same_inputs(before.given, after.given) &&
                      differ_by_edits(after.settings, before.settings, session.selected_side);
  if (!edited || session.selection.kind == ItemKind::merge) {
    session.selection = {};
    return;
  }
  const TaskDiff diff = diff_tasks(*old_plan, *new_plan);
  const auto at = std::find(diff.partner.begin(), diff.partner.end(), session.selection.index);
  if (at != diff.partner.end()) {
    session.selection.index = static_cast<std::int32_t>(at - diff.partner.begin());
  } else if (static_cast<std::size_t>(session.selection.index) >= diff.partner.size() ||
             diff.change[static_cast<std::size_t>(session.selection.index)] != TaskChange::only_here) {
    session.selection = {};  // else its first half, or what it was joined to, is in its place
  }
}

void clamp_copy(Session& session, const Outcome& outcome) {
  if (const std::int32_t copies = copies_of_selection(session, outcome); copies > 0) {
    session.look.copy = std::min(session.look.copy, copies - 1);
  }
}

bool lights(const Session& session) { return session.selection.kind != ItemKind::none || session.look.brush; }

Linked brushed(const SideOutcome& side, const Brush& brush) {
  const auto within = [](const Span1& span, double value) { return value >= span.begin && value <= span.end; };
  std::vector<std::int32_t> tasks;
  for (const RooflinePoint& p : side.points) {
    if (within(brush.intensity, p.intensity) && within(brush.rate, p.rate)) tasks.push_back(p.task);
  }
  return linked_tasks(*side.plan, std::move(tasks));
}

Linked linked_of(const Session& session, const Outcome& outcome, SideId side) {
  const Selection item = session.selection;
  const bool brush = item.kind == ItemKind::none && session.look.brush;
  const bool of_plan = is_of_plan(item) || brush;
  const SideOutcome& from = outcome.side(brush ? session.look.brush->side : of_plan ? session.selected_side : side);
  if (!from.shown()) return {};
  Linked all = brush ? brushed(from, *session.look.brush) : linked(*from.plan, from.links, item);
  if (of_plan && outcome.side(side).plan != from.plan) {
    all.tasks.clear();
    all.merges.clear();
  }
  return all;
}

Span1 zoomed(Span1 shown, double factor, double at) {
  const double size = std::clamp(shown.size() * factor, kLeastShown, 1.0);
  const double begin = std::clamp(shown.begin + at * (shown.size() - size), 0.0, 1.0 - size);
  return {begin, begin + size};
}

Span1 panned(Span1 shown, double by) {
  const double begin = std::clamp(shown.begin + by * shown.size(), 0.0, 1.0 - shown.size());
  return {begin, begin + shown.size()};
}

}  // namespace espalier::viz
