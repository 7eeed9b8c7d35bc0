// One set of launches for a batch that changes: every plan that fits gives the oracle's rows, what doesn't is refused
// and leaves the plan before it in place.
#include "kernels/decode_loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "kernels/device_tensors.h"
#include "kernels/row_error.h"
#include "scheduler/batch_update.h"
#include "scheduler/strategy.h"
#include "tests/kernels/hand_plans.h"
#include "tests/property/forests.h"

namespace espalier::kernels {
namespace {

using scheduler::Plan;
using ::testing::HasSubstr;
using traces::HeadConfig;
using traces::NodeId;
using traces::PrefixForest;
using traces::RequestId;

const TensorSource kSource{7};

Plan plan_of(const std::string& strategy, const PrefixForest& forest, const HeadConfig& heads,
             scheduler::KernelSet kernels = scheduler::KernelSet::ours) {
  costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
  device.sms = 6;  // persistent launches of a size that is quickly emulated
  return std::get<Plan>(
      scheduler::make_plan(scheduler::parse_strategy(strategy),
                           {.forest = forest, .heads = heads, .device = device, .kernels = kernels, .options = {}}));
}

/// Pages in an order of the engine's own, with some between them that belong to others.
PrefixForest paged(PrefixForest forest, std::int32_t size) {
  forest = traces::floor_to_pages(forest, size);
  std::int64_t pages = 0;
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    pages = std::max(pages, 1 + traces::last_page(forest.pages, n, forest.tokens[n]));
  }
  for (std::int64_t p = 0; p < pages; ++p) forest.pages.page_ids.push_back(2 * (pages - p));
  return forest;
}

DecodeRoom room_for(const Plan& plan, double factor) {
  return {factor, static_cast<std::int32_t>(plan.forest.request_count()) + 4, cache_pages(plan.forest) + 64};
}

EmulateOptions emulated(KernelPath path = KernelPath::plain) {
  EmulateOptions options;
  options.machine = {.order = emulator::Order::shuffled, .seed = 5, .resident_blocks = 3, .count_accesses = false};
  options.path = path;
  return options;
}

void expect_step(const DecodeLoop& loop, const Plan& plan, const std::string& what) {
  const RowError error = row_error(loop(plan).output, naive_attention(plan.forest, plan.heads, kSource));
  EXPECT_LE(error.worst, row_tolerance(plan, traces::Dtype::fp32))
      << what << ": request " << error.request << ", head " << error.head;
  EXPECT_LE(error.worst_lse, 1e-4) << what;
}

/// Every request's own node a token longer: those that others continue can't grow.
void decode_a_token(Plan& plan) {
  auto tokens = plan.forest.tokens;
  for (const NodeId leaf : plan.forest.leaf) {
    if (plan.forest.readers(leaf) == 1) ++tokens[leaf];
  }
  scheduler::grow(plan, tokens);
}

TEST(DecodeLoop, FollowsABatchThatGrowsAndChanges) {
  std::int32_t left = 0, joined = 0;
  for (std::uint64_t seed = 1; seed <= property::cases(3); ++seed) {
    const PrefixForest forest = paged(traces::make_forest(property::random_source(seed, 120)), 4);
    for (const char* strategy : {"espalier", "flash_decoding", "deft_flatten", "lean"}) {
      const std::string what = std::string(strategy) + ", " + forest.name;
      Plan plan = plan_of(strategy, forest, traces::parse_heads("4/2/64"));
      const DecodeLoop loop = emulated_decode_loop({&plan, 1}, room_for(plan, 3), kSource, emulated());
      expect_step(loop, plan, what);
      decode_a_token(plan);
      expect_step(loop, plan, what + ", a token later");
      left += scheduler::leave(plan, RequestId(0)) ? 1 : 0;
      expect_step(loop, plan, what + ", without the first request");
      joined += scheduler::join(plan, {NodeId(0), 5, "newcomer"}) ? 1 : 0;
      decode_a_token(plan);
      expect_step(loop, plan, what + ", with a newcomer");
    }
  }
  EXPECT_GT(left, 0);
  EXPECT_GT(joined, 0);
}

TEST(DecodeLoop, GoesBackAndForthBetweenPlansWhoseLaunchesDiffer) {
  // Grids of several kernels, queues, merges on arrival, behind a barrier and in launches of their own; in clusters.
  const HeadConfig heads = traces::parse_heads("8/2/128");
  const PrefixForest star = traces::make_forest(property::star(90, 9, 20));
  const PrefixForest ragged = traces::make_forest(property::random_source(5, 150));
  std::vector<Plan> plans;
  for (const char* strategy : {"lean", "flash_decoding", "deft_node:queries=4,cluster=2", "espalier", "codec"}) {
    for (const PrefixForest* forest : {&star, &ragged}) plans.push_back(plan_of(strategy, *forest, heads));
  }
  plans.push_back(plan_of("flashinfer_persistent", traces::make_forest(property::star(600, 2, 30)), heads,
                          scheduler::KernelSet::published));
  plans.push_back(testing::tree_merge(testing::small_forest(), heads, scheduler::PhaseStart::barrier));
  plans.push_back(testing::folded(testing::small_forest(), heads));
  DecodeRoom room;
  bool clusters = false, barriers = false;
  for (const Plan& plan : plans) {
    for (const DeviceLaunch& l : lower_plan(plan, {.set = host_kernels(), .path = KernelPath::bulk}).launches) {
      clusters = clusters || l.cluster > 1;
      barriers = barriers || l.cooperative();
    }
    room.requests = std::max(room.requests, static_cast<std::int32_t>(plan.forest.request_count()));
    room.pages = std::max(room.pages, cache_pages(plan.forest));
  }
  EXPECT_TRUE(clusters);
  EXPECT_TRUE(barriers);
  for (const KernelPath path : {KernelPath::plain, KernelPath::bulk}) {
    const DecodeLoop loop = emulated_decode_loop(plans, room, kSource, emulated(path));
    for (const Plan& plan : plans) expect_step(loop, plan, plan.provenance.strategy + ", " + plan.forest.name);
    for (auto plan = plans.rbegin(); plan != plans.rend(); ++plan) {
      expect_step(loop, *plan, plan->provenance.strategy + ", " + plan->forest.name + ", again");
    }
  }
}

TEST(DecodeLoop, MergesNothingBehindABarrierThatWasCaptured) {
  const HeadConfig heads = traces::parse_heads("8/2/128");
  const auto plan = [&](const traces::ForestSource& source) {
    return plan_of("flashinfer_persistent", traces::make_forest(source), heads, scheduler::KernelSet::published);
  };
  const Plan cut = plan(property::star(600, 2, 30)), whole = plan(property::star(20, 9, 3));
  ASSERT_FALSE(cut.steps.empty());
  ASSERT_TRUE(whole.steps.empty());
  const DecodeLoop loop = emulated_decode_loop({&cut, 1}, {8, 9, 700}, kSource, emulated());
  for (const Plan* next : {&cut, &whole, &cut}) expect_step(loop, *next, next->forest.name);
}

TEST(DecodeLoop, CopiesOnlyWhatHasChanged) {
  Plan plan = plan_of("espalier", traces::make_forest(property::star(200, 6, 40)), traces::parse_heads("4/2/64"));
  const DecodeLoop loop = emulated_decode_loop({&plan, 1}, room_for(plan, 2), kSource, emulated());
  const std::int64_t first = loop(plan).copied_bytes;
  EXPECT_EQ(loop(plan).copied_bytes, 0);
  decode_a_token(plan);
  const std::int64_t next = loop(plan).copied_bytes;
  EXPECT_GT(next, 0);
  EXPECT_LT(next, first);
}

/// What the loop says against a plan; and that it still runs the other.
std::string refusal(const DecodeLoop& loop, const Plan& refused, const Plan& held) {
  std::string sentence = "not refused";
  try {
    loop(refused);
  } catch (const PlanRefused& error) {
    sentence = error.what();
  }
  expect_step(loop, held, "after a refusal");
  return sentence;
}

TEST(DecodeLoop, RefusesWhatDoesNotMatchTheTensorsOrTheBounds) {
  const HeadConfig heads = traces::parse_heads("4/2/64");
  const PrefixForest forest = traces::make_forest(property::star(60, 4, 10));
  const Plan plan = plan_of("flash_decoding", forest, heads);
  const DecodeLoop loop = emulated_decode_loop({&plan, 1}, {1, 4, cache_pages(plan.forest)}, kSource, emulated());
  expect_step(loop, plan, "the plan that bounds are of");

  Plan changed = plan;
  changed.segments.front().token_end = 3;
  EXPECT_THAT(refusal(loop, changed, plan), HasSubstr("it was changed after it was sealed"));
  EXPECT_THAT(refusal(loop, plan_of("flash_decoding", forest, traces::parse_heads("2/2/64")), plan),
              HasSubstr("its heads are 2/2/64 in bf16 over bf16"));
  HeadConfig other_scale = heads;
  other_scale.scale = 0.5;
  EXPECT_THAT(refusal(loop, plan_of("flash_decoding", forest, other_scale), plan),
              HasSubstr("scale 0.5, the tensors'"));
  HeadConfig other_type = heads;
  other_type.kv_dtype = traces::Dtype::fp8_e4m3;
  EXPECT_THAT(refusal(loop, plan_of("flash_decoding", forest, other_type), plan), HasSubstr("in bf16 over fp8_e4m3"));
  EXPECT_THAT(refusal(loop, plan_of("flash_decoding", traces::floor_to_pages(forest, 16), heads), plan),
              HasSubstr("its pages are of 16 tokens, the tensors' of 1"));
  Plan grown = plan;
  decode_a_token(grown);
  EXPECT_THAT(refusal(loop, grown, plan), HasSubstr("it reads page 100, the cache has 100"));
  EXPECT_THAT(refusal(loop, plan_of("flash_decoding", traces::make_forest(property::star(10, 5, 2)), heads), plan),
              HasSubstr("5 requests, where the tensors have rows for 4"));
}

TEST(DecodeLoop, RefusesPagesAndRequestsThatAreNowhere) {
  const PrefixForest forest = paged(traces::make_forest(property::star(60, 4, 10)), 4);
  const Plan plan = plan_of("flash_decoding", forest, traces::parse_heads("4/2/64"));
  const DecodeLoop loop = emulated_decode_loop({&plan, 1}, room_for(plan, 2), kSource, emulated());
  Plan changed = plan;
  changed.forest.pages.page_ids[2] = -1;
  scheduler::seal(changed);
  EXPECT_THAT(refusal(loop, changed, plan), HasSubstr("it reads page -1, the cache has"));
  changed = plan;
  changed.forest.pages.page_ids.resize(3);
  scheduler::seal(changed);
  EXPECT_THAT(refusal(loop, changed, plan), HasSubstr("lies in pages 0 to 14 of a table of 3"));
  changed = plan;
  changed.query_rows.back() = RequestId(4);
  scheduler::seal(changed);
  EXPECT_THAT(refusal(loop, changed, plan), HasSubstr("a row of request 4, where it has 4"));
}

TEST(DecodeLoop, HasRoomForThePagesOfItsCache) {
  Plan plan = plan_of("flash_decoding", traces::make_forest(property::star(1, 1, 1)), traces::parse_heads("4/2/64"));
  const DecodeLoop loop = emulated_decode_loop({&plan, 1}, {1, 1, 40}, kSource, emulated());
  for (int step = 0; step < 30; ++step) decode_a_token(plan);
  expect_step(loop, plan, "thirty pages more");
}

TEST(DecodeLoop, RefusesLaunchesThatWerentCaptured) {
  const HeadConfig heads = traces::parse_heads("4/2/64");
  const PrefixForest forest = traces::make_forest(property::star(60, 4, 10));
  const Plan small = testing::one_mixed_task(testing::small_forest(), heads);
  const Plan plan = plan_of("flash_decoding", forest, heads), merging = testing::node_halves(forest, heads);
  // So much room in every column that launches alone can be in the way.
  const DecodeRoom room{100, 4, cache_pages(forest)};
  const DecodeLoop loop = emulated_decode_loop({&plan, 1}, room, kSource, emulated());
  EXPECT_THAT(refusal(loop, merging, plan), HasSubstr("where there is room for 0"));
  const std::vector<Plan> both = {merging, small};
  const DecodeLoop two = emulated_decode_loop(both, {1, 4, cache_pages(forest)}, kSource, emulated());
  expect_step(two, small, "fewer blocks than captured");
  EXPECT_THAT(refusal(two, plan_of("lean", forest, heads), small), HasSubstr("the kernels can't run this plan"));
}

TEST(PlanBounds, WantAFactorOfAtLeastOne) {
  for (const double factor : {0.5, -1.0, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_THROW(with_room({}, factor), core::Error);
  }
  PlanBounds bounds;
  bounds.most.tasks = 1000;
  EXPECT_THROW(with_room(bounds, 1e16), core::Error);
}

TEST(PlanBounds, LeaveBlocksWithQueuesAsManyAsTheDeviceHolds) {
  const Plan plan = plan_of("lean", traces::make_forest(property::star(200, 6, 40)), traces::parse_heads("4/2/64"));
  const DevicePlan lowered = lower_plan(plan, {host_kernels()});
  const PlanBounds bounds = bounds_of(plan, lowered), roomy = with_room(bounds, 2);
  ASSERT_TRUE(bounds.launches.front().queued);
  EXPECT_EQ(roomy.launches.front().blocks, bounds.launches.front().blocks);
  EXPECT_GE(roomy.most.tasks, 2 * bounds.most.tasks);
  EXPECT_GT(decode_workspace(roomy, plan.heads).bytes(), decode_workspace(bounds, plan.heads).bytes());
}

/// Rows of 64 columns for one request of two heads, in host memory.
struct HostTensors {
  HostTensors() {
    tensors.queries = memory.data();
    tensors.keys = tensors.values = {memory.data(), 256, 128, 128};
    tensors.rows = memory.data() + 1024;
    tensors.lse = reinterpret_cast<float*>(memory.data() + 2048);
  }
  alignas(16) std::array<std::byte, 4096> memory{};
  DecodeTensors tensors;
  DecodeShape shape{traces::parse_heads("2/2/64"), traces::Dtype::bf16, 1, 1, 4};
};

TEST(DecodeImage, DoesNothingBeforeTheFirstPlan) {
  const HostTensors host;
  const Plan plan = testing::tree_merge(testing::small_forest(), host.shape.heads, scheduler::PhaseStart::barrier);
  const PlanBounds bounds = bounds_of(plan, lower_plan(plan, {host_kernels()}));
  emulator::GlobalMemory memory;
  DecodeImage image(host.shape, bounds, [&](const DevicePiece& piece) -> void* {
    if (piece.kind != emulator::MemoryKind::plan) return memory.allocate_zeroed(piece.name, piece.kind, piece.bytes);
    const std::vector<std::byte> nothing(piece.bytes);
    return const_cast<void*>(memory.upload_bytes(piece.name, piece.kind, nothing.data(), nothing.size()));
  });
  for (const DecodeImage::Write& w : image.whole()) memory.overwrite(w.to, w.from, w.bytes);
  emulator::Machine machine(memory, {});
  // Tensors lie outside the emulator's memory: touching one is an error.
  for (std::size_t i = 0; i < image.launches().size(); ++i) {
    const DeviceLaunch& launch = image.launches()[i];
    if (launch.attend != nullptr) {
      emulate_launch(machine, launch, image.attend(i, host.tensors));
    } else {
      emulate_launch(machine, launch, image.reduce(i, host.tensors));
    }
  }
  EXPECT_GT(machine.counters().launches, 1);
  EXPECT_EQ(machine.counters().mmas, 0);
}

std::string complaint(const DecodeShape& shape, const DecodeTensors& tensors) {
  try {
    DecodeImage(shape, {}, [](const DevicePiece&) -> void* { return nullptr; }).require_tensors(tensors);
  } catch (const core::Error& error) {
    return error.what();
  }
  return "";
}

TEST(DecodeImage, NamesTensorsThatKernelsCouldNotRead) {
  HostTensors host;
  EXPECT_EQ(complaint(host.shape, host.tensors), "");
  DecodeTensors tensors = host.tensors;
  tensors.queries = nullptr;
  EXPECT_THAT(complaint(host.shape, tensors), HasSubstr("tensors: queries"));
  tensors = host.tensors;
  tensors.rows = host.memory.data() + 8;
  EXPECT_THAT(complaint(host.shape, tensors), HasSubstr("tensors: rows"));
  tensors = host.tensors;
  tensors.keys.token_stride = 120;
  EXPECT_THAT(complaint(host.shape, tensors),
              HasSubstr("tensors: keys: stride: expected a multiple of 16 bytes of at least a row's 128, got 120"));
  tensors = host.tensors;
  tensors.values.head_stride = 64;
  EXPECT_THAT(complaint(host.shape, tensors), HasSubstr("tensors: values: stride"));
  DecodeShape shape = host.shape;
  shape.row_dtype = traces::Dtype::fp16;
  EXPECT_THAT(complaint(shape, host.tensors), HasSubstr("fp32 or the queries' bf16"));
  shape = host.shape;
  shape.requests = 0;
  EXPECT_THAT(complaint(shape, host.tensors), HasSubstr("tensors: requests"));
}

}  // namespace
}  // namespace espalier::kernels
