/* Classifies image files with a bundle, by TensorFlow's C API alone:
 *
 *     classify EXPORT_DIR/VERSION IMAGE...
 *
 * prints a line for each image as `kerascnn predict` does. Exits with 1 if an image could not be read, with 2 if the
 * bundle cannot be used. TF_LoadSessionFromSavedModel calls the loader that TensorFlow Serving calls.
 */

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"
#include "tensorflow/c/tf_tstring.h"

static const char BROKEN[] = "not a whole PNG or JPEG image";

static void fail(const char* what, const char* reason) {
  fprintf(stderr, "error: %s: %s\n", what, reason);
  exit(2);
}

static void* allocate(size_t size) {
  void* memory = malloc(size ? size : 1);
  if (!memory) fail("memory", "there is not enough");
  return memory;
}

/* Protocol buffers: a message is a list of fields, each with a number and, of those read here, a piece of memory.
 * https://protobuf.dev/programming-guides/encoding/ */

typedef struct {
  const uint8_t* at;
  const uint8_t* end;
} Bytes;

static bool take_varint(Bytes* message, uint64_t* value) {
  *value = 0;
  for (int shift = 0; shift < 64 && message->at < message->end; shift += 7) {
    uint8_t byte = *message->at++;
    *value |= (uint64_t)(byte & 127) << shift;
    if (byte < 128) return true;
  }
  return false;
}

/* Moves behind the next field. False at the end of the message, or where it is damaged. */
static bool take_field(Bytes* message, uint64_t* number, Bytes* value) {
  uint64_t tag, size;
  if (!take_varint(message, &tag)) return false;
  *number = tag >> 3;
  *value = (Bytes){message->at, message->at};
  switch (tag & 7) {
    case 0:
      return take_varint(message, &size);
    case 1:
      size = 8;
      break;
    case 2:
      if (!take_varint(message, &size)) return false;
      break;
    case 5:
      size = 4;
      break;
    default:
      return false;
  }
  if (size > (uint64_t)(message->end - message->at)) return false;
  *value = (Bytes){message->at, message->at + size};
  message->at += size;
  return true;
}

static bool find_field(Bytes message, uint64_t wanted, Bytes* value) {
  uint64_t number;
  while (take_field(&message, &number, value))
    if (number == wanted) return true;
  return false;
}

/* A map is a repeated message of key = 1 and value = 2. */
static bool find_entry(Bytes message, uint64_t map, const char* wanted, Bytes* value) {
  uint64_t number;
  Bytes entry, key;
  while (take_field(&message, &number, &entry))
    if (number == map && find_field(entry, 1, &key) && (size_t)(key.end - key.at) == strlen(wanted) &&
        !memcmp(key.at, wanted, strlen(wanted)))
      return find_field(entry, 2, value);
  return false;
}

enum { SIGNATURES = 5, INPUTS = 1, OUTPUTS = 2, NAME = 1 }; /* in MetaGraphDef, SignatureDef, TensorInfo */

/* The tensor of the graph that an input or an output of a signature names, as `operation:index`. */
static bool find_tensor(TF_Graph* graph, Bytes signature, int direction, const char* key, TF_Output* tensor) {
  Bytes info, text;
  if (!find_entry(signature, direction, key, &info) || !find_field(info, NAME, &text)) return false;
  size_t size = text.end - text.at;
  char* name = allocate(size + 1);
  memcpy(name, text.at, size);
  name[size] = 0;
  char* colon = strrchr(name, ':');
  tensor->index = colon ? atoi(colon + 1) : 0;
  if (colon) *colon = 0;
  tensor->oper = TF_GraphOperationByName(graph, name);
  free(name);
  return tensor->oper && tensor->index >= 0 && tensor->index < TF_OperationNumOutputs(tensor->oper);
}

typedef struct {
  TF_Session* session;
  TF_Output image_bytes;
  TF_Output outputs[3]; /* classes, scores, and valid where the bundle flags bad images */
  int count;
} Bundle;

typedef struct {
  const char* path;
  char* content; /* NULL where the file cannot be read: reason says why */
  size_t size;
  const char* reason;
} Image;

static Bundle open_bundle(const char* folder) {
  static const char* const tags[] = {"serve"};
  TF_Status* status = TF_NewStatus();
  TF_SessionOptions* options = TF_NewSessionOptions();
  TF_Graph* graph = TF_NewGraph(); /* the session needs it as long as it lives */
  TF_Buffer* meta_graph = TF_NewBuffer();
  Bundle bundle = {0};
  bundle.session = TF_LoadSessionFromSavedModel(options, NULL, folder, tags, 1, graph, meta_graph, status);
  if (TF_GetCode(status) != TF_OK) fail(folder, TF_Message(status));
  const uint8_t* data = meta_graph->data;
  Bytes signature;
  if (!find_entry((Bytes){data, data + meta_graph->length}, SIGNATURES, "serving_default", &signature) ||
      !find_tensor(graph, signature, INPUTS, "image_bytes", &bundle.image_bytes) ||
      !find_tensor(graph, signature, OUTPUTS, "classes", &bundle.outputs[0]) ||
      !find_tensor(graph, signature, OUTPUTS, "scores", &bundle.outputs[1]))
    fail(folder, "a SavedModel, but it does not go from image files to classes");
  bundle.count = find_tensor(graph, signature, OUTPUTS, "valid", &bundle.outputs[2]) ? 3 : 2;
  TF_DeleteBuffer(meta_graph);
  TF_DeleteSessionOptions(options);
  TF_DeleteStatus(status);
  return bundle;
}

static Image read_image(const char* path) {
  Image image = {path, NULL, 0, NULL};
  FILE* file = fopen(path, "rb");
  size_t room = 0, got = 1;
  while (file && got > 0) {
    if (image.size == room) {
      room = room ? 2 * room : 1 << 16;
      image.content = realloc(image.content, room);
      if (!image.content) fail(path, "there is not enough memory");
    }
    got = fread(image.content + image.size, 1, room - image.size, file);
    image.size += got;
  }
  if (!file || ferror(file)) {
    image.reason = strerror(errno);
    free(image.content);
    image.content = NULL;
  }
  if (file) fclose(file);
  return image;
}

static void print_row(const char* path, const TF_TString* classes, const float* scores, int64_t count) {
  printf("%s:", path);
  for (int64_t i = 0; i < count; i++) {
    printf("%s ", i ? "," : "");
    fwrite(TF_StringGetDataPointer(&classes[i]), 1, TF_StringGetSize(&classes[i]), stdout);
    printf(" %.1f%%", 100.0 * scores[i]);
  }
  printf("\n");
}

/* Runs the images that could be read in one batch. Returns whether each has an answer; if the bundle refuses the whole
 * batch for one of them, each is run by itself. */
static bool classify(const Bundle* bundle, const Image* images, int64_t count) {
  int64_t batch = 0;
  for (int64_t i = 0; i < count; i++) batch += images[i].content != NULL;
  TF_Tensor* input = TF_AllocateTensor(TF_STRING, &batch, 1, batch * sizeof(TF_TString));
  TF_TString* strings = TF_TensorData(input);
  for (int64_t i = 0, row = 0; i < count; i++) {
    if (!images[i].content) continue;
    TF_StringInit(&strings[row]);
    TF_StringCopy(&strings[row++], images[i].content, images[i].size);
  }
  TF_Tensor* answers[3] = {NULL, NULL, NULL};
  TF_Status* status = TF_NewStatus();
  if (batch > 0)
    TF_SessionRun(bundle->session, NULL, &bundle->image_bytes, &input, 1, bundle->outputs, answers, bundle->count, NULL,
                  0, NULL, status);
  TF_Code code = TF_GetCode(status);
  if (code != TF_OK && code != TF_INVALID_ARGUMENT) fail("the bundle", TF_Message(status));
  bool good = true;
  if (code != TF_OK && count > 1) {
    for (int64_t i = 0; i < count; i++) good &= classify(bundle, &images[i], 1);
  } else {
    if (code == TF_OK && batch > 0 &&
        (TF_TensorType(answers[0]) != TF_STRING || TF_TensorType(answers[1]) != TF_FLOAT ||
         (answers[2] && (TF_TensorType(answers[2]) != TF_BOOL || TF_TensorElementCount(answers[2]) != batch)) ||
         TF_NumDims(answers[0]) != 2 || TF_Dim(answers[0], 0) != batch ||
         TF_TensorElementCount(answers[1]) != TF_TensorElementCount(answers[0])))
      fail("the bundle", "its answers are not classes [batch, k] and scores [batch, k]");
    for (int64_t i = 0, row = 0; i < count; i++) {
      const char* reason = images[i].reason;
      if (!reason && (code != TF_OK || (answers[2] && !((const bool*)TF_TensorData(answers[2]))[row]))) reason = BROKEN;
      if (reason) {
        fprintf(stderr, "error: %s: %s\n", images[i].path, reason);
        good = false;
      } else {
        int64_t k = TF_Dim(answers[0], 1);
        print_row(images[i].path, (const TF_TString*)TF_TensorData(answers[0]) + row * k,
                  (const float*)TF_TensorData(answers[1]) + row * k, k);
      }
      row += images[i].content != NULL;
    }
  }
  for (int64_t row = 0; row < batch; row++) TF_StringDealloc(&strings[row]);
  TF_DeleteTensor(input);
  for (int i = 0; i < 3; i++)
    if (answers[i]) TF_DeleteTensor(answers[i]);
  TF_DeleteStatus(status);
  return good;
}

int main(int count, char** arguments) {
  if (count < 3) {
    fprintf(stderr, "error: usage: classify EXPORT_DIR/VERSION IMAGE...\n");
    return 2;
  }
  Bundle bundle = open_bundle(arguments[1]);
  Image* images = allocate((count - 2) * sizeof(Image));
  for (int i = 0; i < count - 2; i++) images[i] = read_image(arguments[i + 2]);
  bool good = classify(&bundle, images, count - 2);
  for (int i = 0; i < count - 2; i++) free(images[i].content);
  free(images);
  return good ? 0 : 1;
}
