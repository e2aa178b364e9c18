// The Python extension: argument checks, GIL, status -> exception; no logic.
//
// pysplitcodec/_abi.py offers the same names through cffi; the tests hold the two against each
// other.  Arrays must arrive C-contiguous in native byte order: pysplitcodec/codec.py sees to it.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "splitcodec.h"

namespace py = pybind11;

namespace {

[[noreturn]] void raise(spc_status status) {
    py::object error = py::module_::import("pysplitcodec.errors")
                           .attr("from_status")(static_cast<int>(status), spc_status_text(status));
    PyErr_SetObject(py::type::handle_of(error).ptr(), error.ptr());
    throw py::error_already_set();
}

void check(spc_status status) {
    if (status != SPC_OK) {
        raise(status);
    }
}

// Per thread and kept: a fresh megabyte for every frame costs more than the coding of it.
uint8_t *work_of(size_t size) {
    thread_local std::unique_ptr<uint8_t[]> work;
    thread_local size_t capacity = 0;
    if (size > capacity) {
        work.reset();
        capacity = 0;
        work.reset(new uint8_t[size]);
        capacity = size;
    }
    return work.get();
}

// Any contiguous bytes-like object, held for the length of a call.
class Bytes {
  public:
    explicit Bytes(const py::object &object) {
        if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_SIMPLE) != 0) {
            throw py::error_already_set();
        }
    }
    ~Bytes() {
        PyBuffer_Release(&view_);
    }
    Bytes(const Bytes &) = delete;
    Bytes &operator=(const Bytes &) = delete;
    const uint8_t *data() const {
        return static_cast<const uint8_t *>(view_.buf);
    }
    size_t size() const {
        return static_cast<size_t>(view_.len);
    }

  private:
    Py_buffer view_{};
};

// A bytes object of at most `cap`, filled by `fill(pointer) -> length` without the GIL.
template <typename Fill> py::bytes make_bytes(size_t cap, Fill fill) {
    PyObject *object = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(cap));
    if (!object) {
        throw py::error_already_set();
    }
    auto owner = py::reinterpret_steal<py::object>(object);
    auto *data = reinterpret_cast<uint8_t *>(PyBytes_AS_STRING(object));
    size_t len = 0;
    spc_status status;
    {
        py::gil_scoped_release release;
        status = fill(data, &len);
    }
    check(status);
    object = owner.release().ptr();
    if (len != cap && _PyBytes_Resize(&object, static_cast<Py_ssize_t>(len)) != 0) {
        throw py::error_already_set();
    }
    return py::reinterpret_steal<py::bytes>(object);
}

// No numpy type of its own: packages such as ml_dtypes register one.
bool is_bfloat16(const py::dtype &dtype) {
    return dtype.itemsize() == 2 && py::str(dtype.attr("name")).equal(py::str("bfloat16"));
}

int typenum_of(spc_dtype dtype) {
    constexpr int half = 23; // NPY_HALF
    switch (dtype) {
    case SPC_FLOAT16:
        return half;
    case SPC_INT8:
        return py::dtype::of<int8_t>().num();
    case SPC_UINT8:
        return py::dtype::of<uint8_t>().num();
    default:
        return py::dtype::of<float>().num();
    }
}

constexpr char native_order = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? '<' : '>';

bool is_plain(const py::array &array, spc_dtype dtype) {
    const py::dtype found = array.dtype();
    const char order = found.byteorder();
    const auto address = reinterpret_cast<uintptr_t>(array.data());
    return (dtype == SPC_BFLOAT16 ? is_bfloat16(found) : found.num() == typenum_of(dtype)) &&
           (order == '=' || order == '|' || order == native_order) &&
           (array.flags() & py::array::c_style) != 0 &&
           address % static_cast<uintptr_t>(found.itemsize()) == 0;
}

// For arguments that pysplitcodec itself prepares; a user's arrays are checked in Python.
void require_plain(const py::array &array, spc_dtype dtype, size_t n, const char *name) {
    if (!is_plain(array, dtype) || static_cast<size_t>(array.size()) != n) {
        throw py::value_error(std::string(name) + ": wrong dtype, layout or number of elements");
    }
}

spc_shape shape_of(const std::vector<uint32_t> &dims) {
    spc_shape shape{};
    if (dims.size() > SPC_MAX_RANK) {
        raise(SPC_ERROR_ARGUMENT);
    }
    shape.rank = static_cast<uint32_t>(dims.size());
    std::copy(dims.begin(), dims.end(), shape.dims);
    return shape;
}

std::vector<uint32_t> dims_of(const spc_shape &shape) {
    return {shape.dims, shape.dims + shape.rank};
}

spc_dtype dtype_of(int number) {
    return static_cast<spc_dtype>(number);
}
spc_coder coder_of(int number) {
    return static_cast<spc_coder>(number);
}

// Below 0 there is none.
uint32_t axis_of(int number) {
    return number < 0 ? SPC_NO_AXIS : static_cast<uint32_t>(number);
}

int number_of(uint32_t axis) {
    return axis == SPC_NO_AXIS ? -1 : static_cast<int>(axis);
}

// A coder's model and the bytes that it points to.
class Model {
  public:
    explicit Model(const py::object &bytes) {
        const Bytes given(bytes);
        bytes_.reserve(given.size() + 1); // no bytes have an address too
        bytes_.assign(given.data(), given.data() + given.size());
        check(spc_model_init(&model, bytes_.data(), bytes_.size()));
    }
    Model(const Model &) = delete;
    Model &operator=(const Model &) = delete;

    spc_model model{};

  private:
    std::vector<uint8_t> bytes_;
};

// One codebook, or one per group of channels: centroids [levels] or [groups, levels].
class Codebook {
  public:
    explicit Codebook(const py::array_t<float, py::array::c_style> &centroids)
        : centroids_(centroids.data(), centroids.data() + centroids.size()),
          thresholds_(centroids_.size()) {
        const bool grouped = centroids.ndim() == 2;
        const auto groups = grouped ? static_cast<size_t>(centroids.shape(0)) : 1;
        const auto levels = groups == 0 ? 0 : centroids_.size() / groups;
        uint32_t bits = 0;
        while (bits < 8 && (size_t{1} << bits) < levels) {
            bits++;
        }
        if (centroids.ndim() < 1 || centroids.ndim() > 2 || levels != size_t{1} << bits ||
            groups > SPC_MAX_GROUPS) {
            raise(SPC_ERROR_ARGUMENT);
        }
        check(spc_codebook_init_groups(&book, centroids_.data(), bits,
                                       static_cast<uint32_t>(groups), thresholds_.data()));
    }
    Codebook(const Codebook &) = delete;
    Codebook &operator=(const Codebook &) = delete;

    py::array_t<int32_t> thresholds() const {
        return py::array_t<int32_t>(static_cast<py::ssize_t>(thresholds_.size() - book.groups),
                                    thresholds_.data());
    }

    void quantize(int dtype, const py::array &values, py::array &indices) const {
        const auto n = static_cast<size_t>(values.size());
        require_plain(values, dtype_of(dtype), n, "values");
        require_plain(indices, SPC_UINT8, n, "indices");
        const void *from = values.data();
        auto *to = static_cast<uint8_t *>(indices.mutable_data());
        spc_status status;
        {
            py::gil_scoped_release release;
            status = spc_quantize(&book, dtype_of(dtype), from, n, to);
        }
        check(status);
    }

    void dequantize(int dtype, const py::array &indices, py::array &values) const {
        const auto n = static_cast<size_t>(indices.size());
        require_plain(indices, SPC_UINT8, n, "indices");
        require_plain(values, dtype_of(dtype), n, "values");
        const auto *from = static_cast<const uint8_t *>(indices.data());
        void *to = values.mutable_data();
        spc_status status;
        {
            py::gil_scoped_release release;
            status = spc_dequantize(&book, dtype_of(dtype), from, n, to);
        }
        check(status);
    }

    void quantize_pack(int dtype, const py::array &values, py::array &packed) const {
        const auto n = static_cast<size_t>(values.size());
        require_plain(values, dtype_of(dtype), n, "values");
        require_plain(packed, SPC_UINT8, spc_packed_size(n, book.bits), "packed");
        const void *from = values.data();
        auto *to = static_cast<uint8_t *>(packed.mutable_data());
        spc_status status;
        {
            py::gil_scoped_release release;
            status = spc_quantize_pack(&book, dtype_of(dtype), from, n, to);
        }
        check(status);
    }

    void unpack_dequantize(int dtype, const py::array &packed, py::array &values) const {
        const auto n = static_cast<size_t>(values.size());
        require_plain(packed, SPC_UINT8, spc_packed_size(n, book.bits), "packed");
        require_plain(values, dtype_of(dtype), n, "values");
        const auto *from = static_cast<const uint8_t *>(packed.data());
        void *to = values.mutable_data();
        spc_status status;
        {
            py::gil_scoped_release release;
            status = spc_unpack_dequantize(&book, dtype_of(dtype), from, n, to);
        }
        check(status);
    }

    spc_codebook book{};

  private:
    std::vector<float> centroids_;
    std::vector<int32_t> thresholds_;
};

class Codec {
  public:
    Codec(std::shared_ptr<Codebook> codebook, int axis, int dtype,
          const std::vector<uint32_t> &dims, std::shared_ptr<Model> model,
          std::pair<uint32_t, uint32_t> slice)
        : codebook_(std::move(codebook)), model_(std::move(model)),
          dims_(dims.begin(), dims.end()) {
        const spc_shape shape = shape_of(dims);
        check(spc_codec_init_channels(&codec_, &codebook_->book, axis_of(axis), dtype_of(dtype),
                                      &shape));
        if (model_) {
            check(spc_codec_set_model(&codec_, &model_->model));
        }
        if (slice.second > 0) {
            check(spc_codec_set_slice(&codec_, slice.first, slice.second));
        }
    }
    Codec(const Codec &) = delete;
    Codec &operator=(const Codec &) = delete;

    uint32_t id() const {
        return codec_.id;
    }

    size_t bound(int kind) const {
        return spc_frame_bound(&codec_, static_cast<spc_frame_kind>(kind));
    }

    size_t encode_work_size(int coder) const {
        return spc_encode_work_size(&codec_, coder_of(coder));
    }

    void quantize(const py::array &feature, py::array &indices) const {
        require_plain(feature, codec_.dtype, codec_.n, "feature");
        require_plain(indices, SPC_UINT8, codec_.n, "indices");
        const void *from = feature.data();
        auto *to = static_cast<uint8_t *>(indices.mutable_data());
        spc_status status;
        {
            py::gil_scoped_release release;
            status = spc_codec_quantize(&codec_, from, to);
        }
        check(status);
    }

    void dequantize(const py::array &indices, py::array &feature) const {
        require_plain(indices, SPC_UINT8, codec_.n, "indices");
        require_plain(feature, codec_.dtype, codec_.n, "feature");
        const auto *from = static_cast<const uint8_t *>(indices.data());
        void *to = feature.mutable_data();
        spc_status status;
        {
            py::gil_scoped_release release;
            status = spc_codec_dequantize(&codec_, from, to);
        }
        check(status);
    }

    // None unless `feature` is exactly what the codec takes; the caller then finds out why.
    py::object encode(int coder, int kind, const py::object &feature) const {
        if (!fits(feature)) {
            return py::none();
        }
        const void *from = py::reinterpret_borrow<py::array>(feature).data();
        const size_t cap = bound(kind);
        return make_bytes(cap, [&](uint8_t *frame, size_t *len) {
            const size_t work = spc_encode_work_size(&codec_, coder_of(coder));
            return spc_encode(&codec_, coder_of(coder), static_cast<spc_frame_kind>(kind), from,
                              frame, cap, len, work_of(work), work);
        });
    }

    // False unless `out` is exactly what the codec gives, and writeable.
    bool decode(const py::object &frame, const py::object &out) const {
        if (!fits(out) || !py::reinterpret_borrow<py::array>(out).writeable()) {
            return false;
        }
        const Bytes bytes(frame);
        auto array = py::reinterpret_borrow<py::array>(out);
        void *to = array.mutable_data();
        const auto cap = static_cast<size_t>(array.nbytes());
        spc_status status;
        {
            py::gil_scoped_release release;
            status = decode_one(bytes, to, cap);
        }
        check(status);
        return true;
    }

    // One frame for each features[i]; None unless `features` is [batch, *shape] and plain.
    py::object encode_batch(int coder, int kind, const py::object &features) const {
        if (!fits(features, 1)) {
            return py::none();
        }
        const auto array = py::reinterpret_borrow<py::array>(features);
        const auto batch = static_cast<size_t>(array.shape(0));
        const auto *from = static_cast<const uint8_t *>(array.data());
        const size_t cap = bound(kind), size = spc_feature_size(&codec_);
        std::vector<PyObject *> frames(batch);
        std::vector<size_t> lengths(batch);
        py::list result(batch);
        for (size_t i = 0; i < batch; i++) {
            frames[i] = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(cap));
            if (!frames[i]) {
                throw py::error_already_set();
            }
            result[i] = py::reinterpret_steal<py::object>(frames[i]);
        }
        spc_status status = SPC_OK;
        {
            py::gil_scoped_release release;
            const size_t work = spc_encode_work_size(&codec_, coder_of(coder));
            for (size_t i = 0; i < batch && status == SPC_OK; i++) {
                status = spc_encode(&codec_, coder_of(coder), static_cast<spc_frame_kind>(kind),
                                    from + i * size,
                                    reinterpret_cast<uint8_t *>(PyBytes_AS_STRING(frames[i])), cap,
                                    &lengths[i], work_of(work), work);
            }
        }
        check(status);
        for (size_t i = 0; i < batch; i++) {
            PyObject *frame = frames[i];
            Py_INCREF(frame); // two owners would keep it from being cut
            result[i] = py::none();
            if (_PyBytes_Resize(&frame, static_cast<Py_ssize_t>(lengths[i])) != 0) {
                throw py::error_already_set();
            }
            result[i] = py::reinterpret_steal<py::object>(frame);
        }
        return std::move(result);
    }

    // Frame i into out[i].  The number of the first that cannot be decoded, or of frames if all
    // can; -1 unless `out` is [frames, *shape], plain and writeable.
    py::ssize_t decode_batch(const py::list &frames, const py::object &out) const {
        if (!fits(out, 1) || !py::reinterpret_borrow<py::array>(out).writeable()) {
            return -1;
        }
        auto array = py::reinterpret_borrow<py::array>(out);
        const size_t batch = frames.size(), size = spc_feature_size(&codec_);
        if (static_cast<size_t>(array.shape(0)) != batch) {
            return -1;
        }
        auto *to = static_cast<uint8_t *>(array.mutable_data());
        std::vector<std::unique_ptr<Bytes>> buffers;
        for (const auto &frame : frames) {
            buffers.push_back(std::make_unique<Bytes>(py::reinterpret_borrow<py::object>(frame)));
        }
        size_t done = 0;
        {
            py::gil_scoped_release release;
            while (done < batch && decode_one(*buffers[done], to + done * size, size) == SPC_OK) {
                done++;
            }
        }
        return static_cast<py::ssize_t>(done);
    }

  private:
    // `object` has `batch` dimensions, of any length, before those of the codec.
    bool fits(const py::object &object, size_t batch = 0) const {
        if (!py::isinstance<py::array>(object)) {
            return false;
        }
        const auto array = py::reinterpret_borrow<py::array>(object);
        if (static_cast<size_t>(array.ndim()) != dims_.size() + batch ||
            !is_plain(array, codec_.dtype)) {
            return false;
        }
        return std::equal(dims_.begin(), dims_.end(), array.shape() + batch);
    }

    spc_status decode_one(const Bytes &frame, void *to, size_t cap) const {
        spc_frame_info info;
        const spc_status status = spc_frame_parse(frame.data(), frame.size(), &info);
        if (status != SPC_OK) {
            return status;
        }
        const size_t work = spc_decode_work_size(&codec_, info.coder);
        return spc_decode(&codec_, frame.data(), frame.size(), to, cap, work_of(work), work);
    }

    std::shared_ptr<Codebook> codebook_;
    std::shared_ptr<Model> model_;
    std::vector<py::ssize_t> dims_;
    spc_codec codec_{};
};

void fit_kmeans(const py::array &values, const py::array_t<uint32_t, py::array::c_style> &weights,
                py::array &centroids) {
    const auto n = static_cast<size_t>(values.size());
    const auto count = static_cast<size_t>(centroids.size());
    require_plain(values, SPC_FLOAT32, n, "values");
    require_plain(centroids, SPC_FLOAT32, count, "centroids");
    if (static_cast<size_t>(weights.size()) != n) {
        throw py::value_error("weights: wrong number of elements");
    }
    const auto *from = static_cast<const float *>(values.data());
    const uint32_t *times = weights.data();
    auto *to = static_cast<float *>(centroids.mutable_data());
    const size_t size = spc_fit_kmeans_work_size(n, static_cast<uint32_t>(count));
    const std::unique_ptr<uint8_t[]> work(new uint8_t[size]); // not kept: it may be much
    spc_status status;
    {
        py::gil_scoped_release release;
        status = spc_fit_kmeans(from, times, n, static_cast<uint32_t>(count), to, work.get(), size);
    }
    check(status);
}

void pack(const py::array &indices, uint32_t bits, py::array &packed) {
    const auto n = static_cast<size_t>(indices.size());
    require_plain(indices, SPC_UINT8, n, "indices");
    require_plain(packed, SPC_UINT8, spc_packed_size(n, bits), "packed");
    check(spc_pack(static_cast<const uint8_t *>(indices.data()), n, bits,
                   static_cast<uint8_t *>(packed.mutable_data())));
}

void unpack(const py::array &packed, uint32_t bits, py::array &indices) {
    const auto n = static_cast<size_t>(indices.size());
    require_plain(indices, SPC_UINT8, n, "indices");
    require_plain(packed, SPC_UINT8, spc_packed_size(n, bits), "packed");
    check(spc_unpack(static_cast<const uint8_t *>(packed.data()), n, bits,
                     static_cast<uint8_t *>(indices.mutable_data())));
}

// What a coder is told of indices, and how many there are.
struct Symbols {
    Symbols(const std::vector<uint32_t> &dims, uint32_t bits, int axis, const Model *model)
        : symbols{shape_of(dims), axis_of(axis), bits, model ? &model->model : nullptr} {
        check(spc_shape_elements(&symbols.shape, &n));
    }
    spc_symbols symbols;
    size_t n = 0;
};

std::pair<py::bytes, int> coder_encode(int coder, const std::vector<uint32_t> &dims, uint32_t bits,
                                       const py::array &indices, int axis, const Model *model) {
    const Symbols of(dims, bits, axis, model);
    require_plain(indices, SPC_UINT8, of.n, "indices");
    const auto *from = static_cast<const uint8_t *>(indices.data());
    const size_t cap = spc_coder_bound(coder_of(coder), &of.symbols);
    spc_coder used = SPC_CODER_PACK;
    py::bytes payload = make_bytes(cap, [&](uint8_t *to, size_t *len) {
        const size_t work = spc_coder_encode_work_size(coder_of(coder), &of.symbols);
        return spc_coder_encode(coder_of(coder), &of.symbols, from, to, cap, len, &used,
                                work_of(work), work);
    });
    return {payload, static_cast<int>(used)};
}

void coder_decode(int coder, const std::vector<uint32_t> &dims, uint32_t bits,
                  const py::object &payload, py::array &indices, int axis, const Model *model) {
    const Symbols of(dims, bits, axis, model);
    require_plain(indices, SPC_UINT8, of.n, "indices");
    const Bytes bytes(payload);
    auto *to = static_cast<uint8_t *>(indices.mutable_data());
    spc_status status;
    {
        py::gil_scoped_release release;
        const size_t work = spc_coder_decode_work_size(coder_of(coder), &of.symbols);
        status = spc_coder_decode(coder_of(coder), &of.symbols, bytes.data(), bytes.size(), to,
                                  work_of(work), work);
    }
    check(status);
}

py::dict frame_parse(const py::object &frame) {
    const Bytes bytes(frame);
    spc_frame_info info;
    check(spc_frame_parse(bytes.data(), bytes.size(), &info));
    py::dict found;
    found["kind"] = static_cast<int>(info.kind);
    found["coder"] = static_cast<int>(info.coder);
    found["codec_id"] = info.codec_id;
    found["payload_offset"] = info.payload_offset;
    found["payload_len"] = info.payload_len;
    found["bits"] = info.bits;
    found["dtype"] = static_cast<int>(info.dtype);
    found["shape"] = py::tuple(py::cast(dims_of(info.shape)));
    found["groups"] = info.groups;
    found["axis"] = info.kind == SPC_FRAME_COMPACT ? -1 : number_of(info.axis);
    found["slice"] = py::make_tuple(info.slice_first, info.slice_whole);
    found["model_len"] = info.model_len;
    return found;
}

size_t frame_length(const py::object &frames) {
    const Bytes bytes(frames);
    size_t len = 0;
    check(spc_frame_length(bytes.data(), bytes.size(), &len));
    return len;
}

py::tuple codec_from_frame(const py::object &frame, size_t max_elements) {
    const Bytes bytes(frame);
    spc_frame_info info;
    check(spc_frame_parse(bytes.data(), bytes.size(), &info));
    const auto levels = py::ssize_t{1} << info.bits;
    const auto groups = static_cast<py::ssize_t>(info.groups);
    py::array_t<float> centroids({groups, levels});
    std::vector<int32_t> thresholds(static_cast<size_t>(centroids.size()) + 1);
    spc_codec codec;
    check(spc_codec_from_frame(&codec, bytes.data(), bytes.size(), max_elements,
                               centroids.mutable_data(), thresholds.data(),
                               static_cast<size_t>(centroids.size())));
    const auto *model = reinterpret_cast<const char *>(codec.model.bytes);
    return py::make_tuple(centroids, number_of(codec.axis), static_cast<int>(codec.dtype),
                          py::tuple(py::cast(dims_of(codec.shape))),
                          py::bytes(model ? model : "", codec.model.len));
}

uint32_t crc32c(const py::object &data, uint32_t crc) {
    const Bytes bytes(data);
    return spc_crc32c(crc, bytes.data(), bytes.size());
}

py::object coder_name(int coder) {
    const char *name = spc_coder_name(coder_of(coder));
    return name ? py::object(py::str(name)) : py::none();
}

} // namespace

PYBIND11_MODULE(_core, module) {
    module.doc() = "The C core of pysplitcodec; use the package, not this module.";

    py::class_<Codebook, std::shared_ptr<Codebook>>(module, "Codebook")
        .def(py::init<const py::array_t<float, py::array::c_style> &>(), py::arg("centroids"))
        .def("thresholds", &Codebook::thresholds)
        .def("quantize", &Codebook::quantize, py::arg("dtype"), py::arg("values"),
             py::arg("indices"))
        .def("dequantize", &Codebook::dequantize, py::arg("dtype"), py::arg("indices"),
             py::arg("values"))
        .def("quantize_pack", &Codebook::quantize_pack, py::arg("dtype"), py::arg("values"),
             py::arg("packed"))
        .def("unpack_dequantize", &Codebook::unpack_dequantize, py::arg("dtype"), py::arg("packed"),
             py::arg("values"));

    py::class_<Model, std::shared_ptr<Model>>(module, "Model")
        .def(py::init<const py::object &>(), py::arg("bytes"))
        .def("coder", [](const Model &model) { return static_cast<int>(model.model.coder); })
        .def("bits", [](const Model &model) { return model.model.bits; })
        .def("channels", [](const Model &model) { return model.model.channels; });

    py::class_<Codec>(module, "Codec")
        .def(py::init<std::shared_ptr<Codebook>, int, int, const std::vector<uint32_t> &,
                      std::shared_ptr<Model>, std::pair<uint32_t, uint32_t>>(),
             py::arg("codebook"), py::arg("axis"), py::arg("dtype"), py::arg("shape"),
             py::arg("model") = nullptr, py::arg("slice") = std::make_pair(0u, 0u))
        .def("id", &Codec::id)
        .def("quantize", &Codec::quantize, py::arg("feature"), py::arg("indices"))
        .def("dequantize", &Codec::dequantize, py::arg("indices"), py::arg("feature"))
        .def("bound", &Codec::bound, py::arg("kind"))
        .def("encode_work_size", &Codec::encode_work_size, py::arg("coder"))
        .def("encode", &Codec::encode, py::arg("coder"), py::arg("kind"), py::arg("feature"))
        .def("decode", &Codec::decode, py::arg("frame"), py::arg("out"))
        .def("encode_batch", &Codec::encode_batch, py::arg("coder"), py::arg("kind"),
             py::arg("features"))
        .def("decode_batch", &Codec::decode_batch, py::arg("frames"), py::arg("out"));

    module.def("version", &spc_version);
    module.def("fit_kmeans", &fit_kmeans, py::arg("values"), py::arg("weights"),
               py::arg("centroids"));
    module.def("pack", &pack, py::arg("indices"), py::arg("bits"), py::arg("packed"));
    module.def("unpack", &unpack, py::arg("packed"), py::arg("bits"), py::arg("indices"));
    module.def("packed_size", &spc_packed_size, py::arg("n"), py::arg("bits"));
    module.def("coder_encode", &coder_encode, py::arg("coder"), py::arg("shape"), py::arg("bits"),
               py::arg("indices"), py::arg("axis") = -1, py::arg("model") = nullptr);
    module.def("coder_decode", &coder_decode, py::arg("coder"), py::arg("shape"), py::arg("bits"),
               py::arg("payload"), py::arg("indices"), py::arg("axis") = -1,
               py::arg("model") = nullptr);
    module.def("coder_name", &coder_name, py::arg("coder"));
    module.def(
        "coder_available", [](int coder) { return spc_coder_available(coder_of(coder)) != 0; },
        py::arg("coder"));
    module.def("frame_parse", &frame_parse, py::arg("frame"));
    module.def("frame_length", &frame_length, py::arg("frames"));
    module.def("codec_from_frame", &codec_from_frame, py::arg("frame"), py::arg("max_elements"));
    module.def("crc32c", &crc32c, py::arg("data"), py::arg("crc") = 0);
    module.def("cpu_features", &spc_cpu_features);
    module.def("set_cpu_mask", &spc_set_cpu_mask, py::arg("mask"));
    module.def("kernels_name", &spc_kernels_name);
}
