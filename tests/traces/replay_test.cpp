// Replay: hand-made traces with known batches, and the published dedupe ranges of the real ones.
#include "traces/replay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "core/file.h"
#include "forest_samples.h"
#include "traces/statistics.h"

namespace espalier::traces {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TraceRequest request(std::int64_t input, std::int64_t output, std::vector<std::int64_t> blocks) {
  return {0.0, input, output, std::move(blocks)};
}

ReplayOptions slots(std::int32_t running, std::int32_t samples = 8) {
  ReplayOptions options;
  options.running = running;
  options.samples = samples;
  return options;
}

std::string read_message(const std::string& text) {
  return message_of([&] { read_mooncake(text, "m.jsonl"); });
}

TEST(Mooncake, IsReadInOrderOfArrival) {
  const Trace trace = read_mooncake(
      "{\"timestamp\":3000,\"input_length\":600,\"output_length\":9,\"hash_ids\":[0,2],\"type\":\"chat\"}\n"
      "{\"timestamp\":0,\"input_length\":512,\"output_length\":1,\"hash_ids\":[0]}\n",
      "dir/conv.first-half.jsonl.gz");
  EXPECT_EQ(trace.name, "conv.first-half");
  ASSERT_EQ(trace.requests.size(), 2U);
  EXPECT_EQ(trace.requests[0].input_tokens, 512);
  EXPECT_THAT(trace.requests[1].blocks, ElementsAre(0, 2));
  EXPECT_EQ(trace.requests[1].output_tokens, 9);
}

TEST(Mooncake, NamesLineAndElementOfBadInput) {
  const std::string ok = "{\"timestamp\":0,\"input_length\":600,\"output_length\":1,\"hash_ids\":[0,2]}\n";
  EXPECT_EQ(read_message(ok + R"({"timestamp":0,"input_length":1025,"output_length":1,"hash_ids":[0,3]})"),
            "m.jsonl:2: hash_ids: expected 3 blocks of 512 for 1025 tokens, got 2");
  EXPECT_THAT(read_message(ok + R"({"timestamp":0,"input_length":600,"output_length":1,"hash_ids":[1,2]})"),
              HasSubstr("m.jsonl:2: hash_ids[1]: expected block 2 after block 0, as before"));
  EXPECT_THAT(read_message(ok + R"({"timestamp":0,"input_length":6,"output_length":1,"hash_ids":[2]})"),
              HasSubstr("got it after the start"));
  EXPECT_THAT(read_message(R"({"timestamp":0,"input_length":600,"output_length":1,"hash_ids":[5,5]})"),
              HasSubstr("hash_ids[1]"));
  EXPECT_THAT(read_message(R"({"timestamp":0,"input_length":0,"output_length":1,"hash_ids":[]})"),
              HasSubstr("input_length: expected an integer from 1"));
  EXPECT_THAT(read_message(R"({"timestamp":0,"input_length":5,"output_length":-1,"hash_ids":[0]})"),
              HasSubstr("output_length"));
  EXPECT_THAT(read_message(R"({"input_length":5,"output_length":1,"hash_ids":[0]})"), HasSubstr("\"timestamp\""));
  EXPECT_THAT(read_message(""), HasSubstr("an empty file"));
}

TEST(Replay, SharesWholeBlocksAndKeepsTailsPrivate) {
  Trace trace{"t", 512, {}};
  trace.requests = {request(1600, 100, {0, 1, 2, 3}), request(1690, 100, {0, 1, 2, 4}), request(700, 100, {0, 5})};
  const auto batches = replay(trace, slots(3, 4));
  ASSERT_EQ(batches.size(), 4U);
  std::int64_t last_generated = 0;
  for (const PrefixForest& forest : batches) {
    check_forest(forest);
    ASSERT_EQ(forest.request_count(), 3U);
    const std::int64_t generated = forest.context_tokens(RequestId(0)) - 1600;
    EXPECT_GT(generated, last_generated) << "samples walk forward";
    EXPECT_LE(generated, 100);
    last_generated = generated;
    EXPECT_THAT(forest.tokens.raw(), ElementsAre(512, 1024, 64 + generated, 154 + generated, 188 + generated));
    EXPECT_THAT(forest.request_label.raw(), ElementsAre("0", "1", "2"));
  }
}

TEST(Replay, TwinsShareTheirWholePromptAndNothingMore) {
  Trace trace{"t", 512, {}};
  trace.requests = {request(700, 50, {0, 1}), request(700, 50, {0, 1})};
  const PrefixForest forest = replay(trace, slots(2, 1)).at(0);
  ASSERT_EQ(forest.node_count(), 3U);
  EXPECT_EQ(forest.tokens[NodeId(0)], 700);
  EXPECT_EQ(forest.readers(NodeId(0)), 2);
  EXPECT_EQ(forest.readers(NodeId(1)), 1);
}

TEST(Replay, APromptThatEndsInsideAnotherGetsItsOwnLeaf) {
  Trace trace{"t", 512, {}};
  trace.requests = {request(1024, 50, {0, 1}), request(1536, 50, {0, 1, 2})};
  ReplayOptions options = slots(2, 1);
  options.wait_for_previous_turn = false;
  const PrefixForest forest = replay(trace, options).at(0);
  ASSERT_EQ(forest.node_count(), 3U);
  EXPECT_EQ(forest.tokens[NodeId(0)], 1024);
  EXPECT_EQ(forest.tokens[NodeId(1)], 512 + forest.tokens[NodeId(2)]) << "generated tokens are nobody else's";
}

/// Two conversations of many turns among unrelated requests.
Trace conversations() {
  Trace trace{"c", 512, {}};
  std::int64_t fresh = 100;
  for (std::int64_t turn = 0; turn < 12; ++turn) {
    for (std::int64_t chat = 0; chat < 2; ++chat) {
      std::vector<std::int64_t> blocks{0};
      for (std::int64_t b = 0; b < 2 * (turn + 1); ++b) blocks.push_back(10000 * (chat + 1) + b);
      const auto input = static_cast<std::int64_t>(blocks.size()) * 512;
      trace.requests.push_back(request(input, 200, blocks));
    }
    for (int other = 0; other < 3; ++other) trace.requests.push_back(request(900, 150, {0, fresh++}));
  }
  return trace;
}

/// Largest number of running requests that share more than the system prompt, over many samples.
std::int32_t most_relatives(const std::vector<PrefixForest>& batches) {
  std::int32_t most = 1;
  for (const PrefixForest& forest : batches) {
    for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
      if (forest.tokens_before[n] + forest.tokens[n] > 512) most = std::max(most, forest.readers(n));
    }
  }
  return most;
}

TEST(Replay, ATurnWaitsForTheOneBefore) {
  const Trace trace = conversations();
  ReplayOptions options = slots(8, 64);
  EXPECT_EQ(most_relatives(replay(trace, options)), 1) << "turns of a conversation never run together";
  options.order = Order::prefix;
  EXPECT_GT(most_relatives(replay(trace, options)), 1) << "an offline batch has all prompts from the start";
  options.order = Order::arrival;
  options.wait_for_previous_turn = false;
  EXPECT_GT(most_relatives(replay(trace, options)), 1);
}

TEST(Replay, SortsByPrefixWithinWindows) {
  // Pairs with equal prompts, the second half a trace later: only sorting brings them together.
  Trace trace{"p", 512, {}};
  for (int half = 0; half < 2; ++half) {
    for (std::int64_t i = 0; i < 64; ++i) {
      trace.requests.push_back(request(2048, 100, {i * 4, i * 4 + 1, i * 4 + 2, i * 4 + 3}));
    }
  }
  ReplayOptions options = slots(8);
  const auto dedupe = [&] {
    double sum = 0;
    for (const PrefixForest& f : replay(trace, options)) sum += describe(f, HeadConfig{}, 1).dedupe / options.samples;
    return sum;
  };
  EXPECT_DOUBLE_EQ(dedupe(), 1.0);
  options.order = Order::prefix;
  EXPECT_GT(dedupe(), 1.8);
  options.sort_window = 0;
  EXPECT_GT(dedupe(), 1.8);
  options.sort_window = 64;
  EXPECT_DOUBLE_EQ(dedupe(), 1.0) << "the twins are in different windows";
}

TEST(Replay, RoutesToTheInstanceThatHoldsThePrefix) {
  // Four documents asked in turn: with routing by prefix each instance sees few of them.
  Trace trace{"d", 512, {}};
  core::Rng rng(3);
  for (std::int64_t i = 0; i < 800; ++i) {
    std::vector<std::int64_t> blocks;
    const std::int64_t document = rng.integer(0, 3);
    for (std::int64_t b = 0; b < 8; ++b) blocks.push_back(document * 100 + b);
    blocks.push_back(10000 + i);
    trace.requests.push_back(request(8 * 512 + 100, rng.integer(50, 150), blocks));
  }
  ReplayOptions options = slots(8, 16);
  options.instances = 4;
  const auto documents = [&] {
    double roots = 0;
    for (const PrefixForest& forest : replay(trace, options)) {
      roots += static_cast<double>(describe(forest, HeadConfig{}, 1).roots) / options.samples;
    }
    return roots;
  };
  const double random = documents();
  options.routing = Routing::cache_aware;
  const double aware = documents();
  EXPECT_GT(random, 3.0);
  EXPECT_LT(aware, random - 1.0);
}

TEST(Replay, FillsEverySlotOfASaturatedServer) {
  for (const std::int32_t running : {1, 5, 32}) {
    for (const PrefixForest& forest : replay(conversations(), slots(std::min(running, 5)))) {
      EXPECT_EQ(forest.request_count(), static_cast<std::size_t>(std::min(running, 5)));
    }
  }
}

TEST(Replay, DependsOnItsSeedAlone) {
  ReplayOptions options = slots(4);
  options.instances = 3;
  EXPECT_EQ(replay(conversations(), options), replay(conversations(), options));
  const auto first = replay(conversations(), options);
  options.seed = 2;
  EXPECT_NE(replay(conversations(), options), first);
}

TEST(Replay, RejectsOptionsOutOfRangeAndShortTraces) {
  const auto usage = [](const std::function<void(ReplayOptions&)>& change) {
    ReplayOptions options = slots(4);
    change(options);
    return message_of([&] { replay(conversations(), options); }, core::ErrorKind::usage);
  };
  EXPECT_THAT(usage([](ReplayOptions& o) { o.running = 0; }), HasSubstr("running: expected an integer from 1"));
  EXPECT_THAT(usage([](ReplayOptions& o) { o.instances = 0; }), HasSubstr("instances"));
  EXPECT_THAT(usage([](ReplayOptions& o) { o.instance = 1; }), HasSubstr("instance: expected an integer from 0 to 0"));
  EXPECT_THAT(usage([](ReplayOptions& o) { o.samples = 0; }), HasSubstr("samples"));
  EXPECT_THAT(usage([](ReplayOptions& o) { o.sort_window = -1; }), HasSubstr("sort window"));
  EXPECT_THAT(message_of([] { replay(conversations(), slots(1000)); }),
              HasSubstr("c: expected at least 1000 requests"));
  ReplayOptions spread = slots(50);
  spread.instances = 8;
  EXPECT_THAT(message_of([&] { replay(conversations(), spread); }), HasSubstr("enough requests to fill 50 slots"));
}

struct Published {
  const char* file;
  std::int32_t running;
  Order order;
  std::int64_t window;
  double mean, low, high;  ///< of the eight published snapshots
};

/// The replay of a visible trace gives the published ranges: its mean lies within 6 % of the published one (sorted
/// batches: 12 %, they swing with the sampled step), and its samples inside the published range, give or take the same.
TEST(Replay, OfTheRealTracesReproducesThePublishedDedupe) {
  const std::string folder = ESPALIER_SHARED_DATA "/mooncake";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no real traces beside the checkout";
  const Published rows[] = {
      {"conversation", 32, Order::arrival, 4096, 1.04, 1.02, 1.04},
      {"conversation", 64, Order::arrival, 4096, 1.04, 1.03, 1.04},
      {"conversation", 128, Order::arrival, 4096, 1.04, 1.03, 1.04},
      {"conversation", 256, Order::arrival, 4096, 1.04, 1.04, 1.06},
      {"conversation", 32, Order::prefix, 4096, 1.38, 1.05, 2.17},
      {"conversation", 64, Order::prefix, 4096, 1.32, 1.06, 1.83},
      {"conversation", 128, Order::prefix, 4096, 1.41, 1.16, 2.08},
      {"conversation", 256, Order::prefix, 4096, 1.35, 1.13, 1.82},
      {"synthetic", 32, Order::prefix, 0, 1.06, 1.00, 1.24},
      {"synthetic", 64, Order::prefix, 0, 1.04, 1.00, 1.08},
      {"synthetic", 128, Order::prefix, 0, 1.06, 1.00, 1.18},
      {"synthetic", 256, Order::prefix, 0, 1.05, 1.00, 1.10},
      {"toolagent_sample", 32, Order::arrival, 4096, 1.07, 1.05, 1.08},
  };
  for (const Published& row : rows) {
    const std::string path = folder + "/" + row.file + ".first-half.jsonl.gz";
    const Trace trace = read_mooncake(core::read_file(path), path);
    ReplayOptions options = slots(row.running);
    options.order = row.order;
    options.sort_window = row.window;
    double low = 1e9, high = 0;
    for (const PrefixForest& forest : replay(trace, options)) {
      check_forest(forest);
      EXPECT_EQ(forest.request_count(), static_cast<std::size_t>(row.running));
      const double dedupe = describe(forest, HeadConfig{}, 1).dedupe;
      low = std::min(low, dedupe);
      high = std::max(high, dedupe);
    }
    options.samples = 200;  // the mean of many steps, not of eight
    double mean = 0;
    for (const PrefixForest& forest : replay(trace, options)) mean += describe(forest, HeadConfig{}, 1).dedupe / 200;
    const std::string label = fmt::format("{} c{} order {}: mean {:.3f}, range {:.3f}-{:.3f}", row.file, row.running,
                                          static_cast<int>(row.order), mean, low, high);
    const double slack = row.order == Order::prefix ? 0.12 : 0.06;
    EXPECT_NEAR(mean, row.mean, row.mean * slack) << label;
    EXPECT_GE(low, row.low * (1 - slack)) << label;
    EXPECT_LE(high, row.high * (1 + slack)) << label;
  }
}

}  // namespace
}  // namespace espalier::traces
