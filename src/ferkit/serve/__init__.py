"""The HTTP service and its web page, behind ``ferkit serve``. Needs the extra ``serve``.

The modules, from the bottom: ``settings`` and ``problems`` are plain values; ``schemas`` is what goes over the wire;
``uploads`` turns request bytes into images; ``engine`` owns the threads that compute; ``catalogue`` the weights on
offer; ``metrics`` and ``middleware`` watch; ``stream`` is the webcam; ``app`` puts them together; ``run`` starts uvicorn.
"""
